"""CPU operations of our own, compiled where they run."""
