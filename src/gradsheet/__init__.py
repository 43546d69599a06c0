"""Neural networks you can open in a spreadsheet, with every number proved right."""

__version__ = "0.1.0"
