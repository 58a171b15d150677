"""What several verbs share: options, the terminal, outputs, provenance."""
