"""The commands, a file each; `cli.py` parses, these call and print."""
