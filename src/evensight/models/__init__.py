"""Backbones, and the network round them: uint8 pixels in, logits out."""
