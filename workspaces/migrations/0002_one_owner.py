from django.db import migrations

# A unique index keeps a second Owner out; this trigger sees to it that there is one. It looks when the transaction
# ends, so that a handover may pass through a moment without.
CREATE = """
CREATE FUNCTION workspaces_check_owner() RETURNS trigger LANGUAGE plpgsql AS $$
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
        WHERE w.id = ANY(concerned)
        AND NOT EXISTS (SELECT 1 FROM workspaces_membership m WHERE m.workspace_id = w.id AND m.role = 4) LIMIT 1;
    IF lacking IS NOT NULL THEN
        RAISE EXCEPTION 'workspace % has no owner', lacking USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER workspace_has_owner AFTER INSERT ON workspaces_workspace
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION workspaces_check_owner();
CREATE CONSTRAINT TRIGGER membership_leaves_owner AFTER UPDATE OF role, workspace_id OR DELETE ON workspaces_membership
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION workspaces_check_owner();
"""
DROP = """
DROP TRIGGER membership_leaves_owner ON workspaces_membership;
DROP TRIGGER workspace_has_owner ON workspaces_workspace;
DROP FUNCTION workspaces_check_owner();
"""


class Migration(migrations.Migration):
    dependencies = [("workspaces", "0001_initial")]
    operations = [migrations.RunSQL(CREATE, DROP)]
