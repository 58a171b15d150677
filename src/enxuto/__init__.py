"""enxuto: makes trained convolutional networks small without losing what they learnt."""
