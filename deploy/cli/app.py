"""cowork, the command: run the suite, serve a service, migrate, look after erasures, dead letters and the outbox."""

from cyclopts import App

from deploy.cli import bus, config, erasure, privacy, run, serve

app = App(name="cowork", help="A coworking suite whose privacy promise is proven by construction.", version="0.1.0")
app.command(run.run)
app.command(serve.serve)
app.command(serve.migrate)
app.command(serve.topology)
app.command(run.demo)
app.command(erasure.app, name="erasure")
app.command(privacy.app, name="privacy")
app.command(bus.dlq, name="dlq")
app.command(bus.outbox, name="outbox")
app.command(config.app, name="config")


def main() -> None:
    app()
