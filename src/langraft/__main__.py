"""`python -m langraft`, which is also what torchrun starts."""

from langraft.cli import main

if __name__ == "__main__":
    main()
