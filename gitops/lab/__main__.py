"""`python -m gitops.lab`: the lab's commands without the rest of the program."""

from gitops.lab.cli import main

if __name__ == "__main__":
    main()
