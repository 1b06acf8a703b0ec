# Runs inside a build container, without network: asks a package's build backend (PEP 517).
# argv: "requires" or "wheel", the backend as MODULE[:OBJECT], the source's directory, directories in it that
# the backend is imported from. Leaves /out/requires.json (a list of texts) or /out/NAME.whl.
import importlib
import json
import os
import sys

# What a backend prints is part of its complaint, should it fail.
os.dup2(2, 1)
question, backend, source = sys.argv[1:4]
os.chdir(source)
sys.path[:0] = [os.path.normpath(os.path.join(source, place)) for place in sys.argv[4:]]
sys.argv[1:] = []
module, _, attributes = backend.partition(":")
hooks = importlib.import_module(module)
for attribute in filter(None, attributes.split(".")):
    hooks = getattr(hooks, attribute)
if question == "requires":
    ask = getattr(hooks, "get_requires_for_build_wheel", None)
    wanted = [str(line) for line in ask({})] if ask else []
    with open("/out/requires.json", "x", encoding="utf-8") as out:
        json.dump(wanted, out)
else:
    hooks.build_wheel("/out", {})
