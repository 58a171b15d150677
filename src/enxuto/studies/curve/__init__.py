"""The study of a rate curve: points, tables and charts."""
