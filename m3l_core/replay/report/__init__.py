"""Figures of a replay: report.json, the page made from it, the table on the console."""
