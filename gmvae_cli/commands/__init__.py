"""The work of each command, a module for each; none of them prints."""
