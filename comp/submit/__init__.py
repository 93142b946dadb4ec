"""From predictions to the file a leaderboard takes."""
