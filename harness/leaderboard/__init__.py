"""The leaderboard: scores, comparisons, win rates, ranks, costs and findings, out of what the stages left."""
