"""cowork, the command: run the suite, serve a service, migrate, look after erasures, dead letters and the outbox.

What needs several services is imported when it is asked for: an image holds one service only.
"""

from cyclopts import App

from deploy.cli import bus, config, serve

app = App(name="cowork", help="A coworking suite whose privacy promise is proven by construction.", version="0.1.0")
app.command("deploy.cli.run:run", help="Run the whole suite on this machine, with a PostgreSQL of its own.")
app.command("deploy.cli.run:demo", help="Seed the demo space into a suite that runs.")
app.command(serve.serve)
app.command(serve.migrate)
app.command(serve.topology)
app.command(bus.dlq)
app.command(bus.outbox)
app.command(config.app)
app.command("deploy.cli.backup:backup", help="Back up all databases and files into a folder, the erasure ledger apart.")
app.command(
    "deploy.cli.backup:restore",
    help="Restore a backup; whoever was erased since is erased again before anybody is served.",
)
app.command("deploy.cli.backup:drill", help="Try a backup on a PostgreSQL of its own and throw the result away.")

ledger = App(name="ledger", help="The erasure ledger: its chain, and its database.")
ledger.command("deploy.cli.ledger:verify", help="Recompute the chain and say where it breaks.")
ledger.command("deploy.cli.ledger:migrate", help="Bring the ledger's database to its newest revision.")
app.command(ledger)

erasure = App(name="erasure", help="Erasure cases: their state, and every service's answer.")
erasure.command("deploy.cli.erasure:list_cases", name="list", help="List the cases, the most recent first.")
erasure.command(
    "deploy.cli.erasure:status", help="Show a case with one line per service (--watch: until it is completed)."
)
app.command(erasure)

privacy = App(name="privacy", help="The data map and the Article 30 register.")
privacy.command("deploy.cli.privacy:manifest", help="Print the manifest of a service, or of all, as JSON.")
privacy.command("deploy.cli.privacy:register", help="Print the Article 30 register as Markdown.")
app.command(privacy)


def main() -> None:
    app()
