"""What the readers of annotation formats share: untrusted files in, rows and cut-out objects out."""
