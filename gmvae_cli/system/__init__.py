"""The machine: device, processes, scratch space, progress."""
