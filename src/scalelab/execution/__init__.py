"""Many runs: their records on disk, and the processes that train them."""
