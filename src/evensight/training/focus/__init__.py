"""Focus: what turns a model away from a cue. settings (what is asked for), focused (the method around a method)."""
