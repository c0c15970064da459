"""Published data sets in their own layouts, imported into the one that training reads."""
