import django.db.models.deletion
from django.db import migrations, models

INDEX = "workspaces_membership_workspace_id_03c7ef39"  # the name that Django gave it


class Migration(migrations.Migration):
    """By hand: Django's AlterField would drop the constraint `one_owner` as well, as an index of the same column."""

    dependencies = [("workspaces", "0002_one_owner")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    f"DROP INDEX {INDEX}", f"CREATE INDEX {INDEX} ON workspaces_membership (workspace_id)"
                )
            ],
            state_operations=[
                migrations.AlterField(
                    model_name="membership",
                    name="workspace",
                    field=models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="memberships",
                        to="workspaces.workspace",
                    ),
                )
            ],
        )
    ]
