"""Reading and writing tables, models' tensors and manifests."""
