"""The charts that verbs write into folders, drawn from the charts of a report: what a page shows, beside each other."""
