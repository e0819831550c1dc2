"""scalelab: the laboratory for neural scaling laws."""
