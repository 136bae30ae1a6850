"""Reviewing a plan before it is run: groups of matches, previews, what is taken out; with a local page."""
