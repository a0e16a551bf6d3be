"""`python -m ngu_points` is `ngu`."""

from ngu_points.cli import main

if __name__ == "__main__":
    main()
