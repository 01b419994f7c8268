from django.db import migrations

# Membership periods are written by the database, so that whatever changes a membership leaves its trace.
CREATE = """
CREATE OR REPLACE FUNCTION workspaces_check_owner() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    concerned uuid[];
    lacking uuid;
BEGIN
    IF TG_TABLE_NAME = 'workspaces_workspace' THEN
        concerned := ARRAY[NEW.id];
    ELSIF TG_OP = 'DELETE' THEN
        concerned := ARRAY[OLD.workspace_id];
    ELSE
        concerned := ARRAY[OLD.workspace_id, NEW.workspace_id];
    END IF;
    SELECT w.id INTO lacking FROM workspaces_workspace w
        WHERE w.id = ANY(concerned) AND w.deleted_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM workspaces_membership m WHERE m.workspace_id = w.id AND m.role = 4) LIMIT 1;
    IF lacking IS NOT NULL THEN
        RAISE EXCEPTION 'workspace % has no owner', lacking USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;

INSERT INTO workspaces_membershipperiod (workspace_id, user_id, role, from_at)
    SELECT workspace_id, user_id, role, joined_at FROM workspaces_membership;

CREATE FUNCTION workspaces_keep_period() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        UPDATE workspaces_membershipperiod SET until_at = clock_timestamp()
            WHERE workspace_id = OLD.workspace_id AND user_id = OLD.user_id AND until_at IS NULL;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO workspaces_membershipperiod (workspace_id, user_id, role, from_at)
            VALUES (NEW.workspace_id, NEW.user_id, NEW.role, clock_timestamp());
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER membership_periods AFTER INSERT OR DELETE OR UPDATE OF role, user_id, workspace_id
    ON workspaces_membership FOR EACH ROW EXECUTE FUNCTION workspaces_keep_period();

CREATE FUNCTION workspaces_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('keyhouse.trims_activity', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the activity log is only ever added to' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER activity_append_only BEFORE UPDATE OR DELETE ON workspaces_activity
    FOR EACH ROW EXECUTE FUNCTION workspaces_append_only();
"""
DROP = """
DROP TRIGGER activity_append_only ON workspaces_activity;
DROP FUNCTION workspaces_append_only();
DROP TRIGGER membership_periods ON workspaces_membership;
DROP FUNCTION workspaces_keep_period();
"""


class Migration(migrations.Migration):
    dependencies = [("workspaces", "0004_teams")]
    operations = [migrations.RunSQL(CREATE, DROP)]
