"""``python -m minicontainer``: the command line."""

from minicontainer.cli.main import main

if __name__ == "__main__":
    main()
