"""A network's INT8 form, and what it costs in labels."""
