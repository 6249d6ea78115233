"""One way from a file to a probability. Needs torch, numpy and Pillow alone; the folder works copied anywhere."""
