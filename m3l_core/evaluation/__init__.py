"""A bundle on any engine, with sensors missing or damaged."""
