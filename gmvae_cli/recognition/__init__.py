"""Recognition of how a file is to be read, from its content: its layout, its numbers, its times, its columns."""
