"""What a reader sees: charts, figures, the page, and the files that hold the numbers."""
