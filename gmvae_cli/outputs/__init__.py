"""Files that hold a labelled table: its rows, its segments, and those of an earlier run."""
