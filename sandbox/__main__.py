"""`python -m sandbox --port N --seed S --products N`: the sandbox on this machine until it is stopped.

Every setting can also come from the environment: SANDBOX_PORT, SANDBOX_SEED and so on.
"""

import argparse
import os
import sys

from pydantic import ValidationError

from sandbox.app import create_app
from sandbox.server import listening_socket, make_server
from sandbox.world import Options, World


def main(arguments: list[str] | None = None) -> int:
    """Serve; 2 if the settings make no world or the port is taken."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--host", default=os.environ.get("SANDBOX_HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=os.environ.get("SANDBOX_PORT", "8090"), help="0: a free one")
    for name, option in Options.model_fields.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", default=os.environ.get(f"SANDBOX_{name.upper()}"), help=option.description
        )
    given = vars(parser.parse_args(arguments))
    host, port = given.pop("host"), given.pop("port")
    try:
        options = Options.model_validate({name: value for name, value in given.items() if value not in (None, "")})
        listener = listening_socket(host, port)
    except ValidationError as error:
        problem = error.errors()[0]
        sys.stderr.write(f"--{'.'.join(map(str, problem['loc'])).replace('_', '-')}: {problem['msg']}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"{host}:{port}: {error.strerror}\n")
        return 2
    address, chosen = listener.getsockname()[:2]
    sys.stdout.write(f"sandbox: http://{address}:{chosen}  control: http://{address}:{chosen}/control/docs\n")
    sys.stdout.flush()
    with listener:
        make_server(create_app(World(options))).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
