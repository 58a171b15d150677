"""From a model and some images: what an error in each weight costs, and weights rounded accordingly."""
