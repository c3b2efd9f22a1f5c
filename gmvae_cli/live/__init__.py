"""Rows that are labelled as they arrive, and the state that the next run goes on from; without torch."""
