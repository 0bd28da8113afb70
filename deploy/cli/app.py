"""cowork, the command: run the suite, serve a service, migrate, look after erasures, dead letters and the outbox.

Every command is imported when it is asked for: an image holds one service only, and a help text needs none of them.
"""

import sys

from cyclopts import App

app = App(name="cowork", help="A coworking suite whose privacy promise is proven by construction.", version="0.1.0")
app.command("deploy.cli.run:run", help="Run the whole suite on this machine, with a PostgreSQL of its own.")
app.command("deploy.cli.demo:demo", help="Seed the demo space through the gateway of separate processes.")
app.command("deploy.cli.demo:mailbox", help="Catch every mail and show it on a page; for demonstrations only.")
app.command("deploy.cli.init:init", help="Write the secret files and settings that docker compose needs.")
app.command("deploy.cli.init:provision_databases", name="provision", help="Make databases and roles; repeatable.")
app.command("deploy.cli.serve:serve", help="Serve one service; configuration comes from the environment.")
app.command("deploy.cli.serve:migrate", help="Bring databases to the newest revision, the erasure ledger's as well.")
app.command("deploy.cli.serve:topology", help="Declare every queue and binding in RabbitMQ; repeatable.")
app.command("deploy.cli.bus:dlq", name="dlq", help="Events that a service could not handle yet.")
app.command("deploy.cli.bus:outbox", name="outbox", help="Events that wait for the broker's confirm.")
app.command("deploy.cli.config:app", name="config", help="What is configured, and what is missing.")
app.command("deploy.cli.doctor:doctor", help="Look at everything that can be wrong, and say what to do.")
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

archive = App(name="archive", help="The legal archive of a tenant.")
archive.command("deploy.cli.archive:export", help="Hand a tenant's invoices, quotes and credit notes to a keeper.")
app.command(archive)


def main() -> None:
    """Run a command. What an operator can put right is said in a line; what only we can, with its traceback."""
    try:
        app()
    except Exception as error:
        # Imported when there is something to say: a help text waits for nothing.
        from deploy.cli.mistakes import explain

        said, code = explain(error)
        if said is None:
            raise
        sys.stderr.write(f"{said}\n")
        sys.exit(code)
