"""Children of the programs here that execute others, and what is said of them: a line of each step."""

import os


def say(*what):
    print(*what, flush=True)


def forked(what):
    child = os.fork()
    if child == 0:
        try:
            what()
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    return child


def ended(name, child):
    say(name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
