"""A model and some images → what every error in its weights costs."""
