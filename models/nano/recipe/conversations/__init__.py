"""Synthetic conversations for the nano model; everything is generated from the word lists and templates in here."""
