"""Images by digest: what a tag means is asked once a commit, recorded, and kept for rollbacks."""
