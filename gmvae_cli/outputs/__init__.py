"""What is written of a labelled table: its rows, its segments, and what an earlier run has written."""
