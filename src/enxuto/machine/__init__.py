"""The machine that runs this: processors, folders, signals, leftovers of killed processes, compiled loops."""
