"""Scripts that let bash, zsh and fish finish the words of a minicontainer command line.

They hold the commands and their options as the tables of minicontainer.cli have them, so that offering those starts
no process. Containers and images come and go; for their names a script calls ``completion --list``, which reads
only directories that everybody may read. So it also serves the user who types ``sudo minicontainer stop`` and tab.

bash and fish get a function that walks over the words before the cursor, past options and their values, to find
the command and how many arguments it has; zsh has one, ``_arguments``, which takes the tables as they are.
"""
