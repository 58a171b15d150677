"""The study of lottery tickets: points, rounds, tables and charts."""
