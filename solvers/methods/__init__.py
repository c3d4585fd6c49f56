"""The methods, one family per file: a table of contents of the field. Importing ``scorebed.solvers`` imports every file here."""
