"""The competition kit: from a folder of images to the top of a leaderboard. The README draws the house."""
