// OpenAPI 2ea4a8d872123544f778f4b722e8a6f7e8c0157550ad8146747d754b2741920b
// Written by `make console-types`; not to be edited.

export interface paths {
    "/alarms": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What is wrong: alarms that stand, the worst first; and those that stood. Those of no project are for who sees all */
        get: operations["list-alarms"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/alarms/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** One alarm */
        get: operations["get-alarm"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/alarms/summary": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** How many alarms stand that nobody muted, by severity */
        get: operations["get-alarm-summary"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/audit": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Who did what, newest first */
        get: operations["list-audit"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/audit/check": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Verify the chain of the audit log from its first row to its last. A chain that is wrong is an answer too: ok is false */
        get: operations["check-audit"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/audit/export": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The audit log as JSON lines, in the order of its chain; the export is its last entry. A connection that breaks is an export that is not whole */
        get: operations["export-audit"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/audit/head": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The end of the chain: kept elsewhere, it shows a tail that was cut */
        get: operations["audit-head"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/backups": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Backups, newest first; by number in other orders too */
        get: operations["list-backups"];
        put?: never;
        /** Back up one database, a project's databases, or all; 207 where some could not be ordered */
        post: operations["create-backups"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/backups/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** One backup, with its progress while it runs */
        get: operations["get-backup"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/backups/{id}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Stop the dump and the upload */
        post: operations["cancel-backup"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/backups/{id}/delete": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Delete a backup: it can be taken back until its grace has passed */
        post: operations["delete-backup"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/backups/{id}/download": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** A short-lived link to an object of a backup; written to the audit log */
        post: operations["create-download"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/backups/{id}/hold": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Keep a backup: nobody and no retention deletes it until it is released */
        post: operations["hold-backup"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/backups/{id}/log": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The job that made the backup, with the log of each attempt */
        get: operations["get-backup-log"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/backups/{id}/manifest": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The signed manifest, byte for byte as it lies beside the artifact */
        get: operations["get-backup-manifest"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/backups/{id}/release": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** End the hold of a backup */
        post: operations["release-backup"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/backups/{id}/retry": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Order a backup that failed once more, as it was ordered */
        post: operations["retry-backup"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/backups/{id}/undelete": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Take a deletion back */
        post: operations["undelete-backup"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/backups/{id}/verify": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Verify one backup */
        post: operations["verify-backup"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/backups/verify": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Verify all backups that are not verified yet, or all of a project */
        post: operations["verify-backups"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/ca.pem": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The certificate of the installation's authority */
        get: operations["get-ca"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/channel-kinds": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Kinds of channels, with the fields of their targets */
        get: operations["list-channel-kinds"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/channels": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Where people are told, by name: channels of the caller's projects and, for who sees all, of the installation */
        get: operations["list-channels"];
        put?: never;
        /** Tell people by email, by a signed webhook or by a service */
        post: operations["create-channel"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/channels/{ref}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** One channel, without what opens it */
        get: operations["get-channel"];
        put?: never;
        post?: never;
        /** Delete a channel that is no other one's fallback */
        delete: operations["delete-channel"];
        options?: never;
        head?: never;
        /** Change a channel: what it takes, or its target as a whole */
        patch: operations["update-channel"];
        trace?: never;
    };
    "/channels/{ref}/test": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Send a test through a channel and wait for what becomes of it; 422 channel_failed tells why it was not taken */
        post: operations["test-channel"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/cleanup": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Apply retention, or show what it would do; without dry_run it asks for delete-backups as well */
        post: operations["cleanup"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/databases": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Databases that agents found, by server, instance and name */
        get: operations["list-databases"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/databases/{id}/ignored": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /** Record the choice that a database need not be backed up; one that a schedule covers is watched all the same */
        put: operations["ignore-database"];
        post?: never;
        /** Take that choice back */
        delete: operations["unignore-database"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/databases/assign": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Give a database to a project */
        post: operations["assign-database"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/databases/unassign": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Take a database from its project; its backups stay */
        post: operations["unassign-database"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/downloads/{token}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What a link gives. It works once: the first request that bytes are sent for */
        get: operations["download"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        /** Size and checksum of what a link gives; does not use it up */
        head: operations["head-download"];
        patch?: never;
        trace?: never;
    };
    "/enroll": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Called by an agent with its enrolment token */
        post: operations["enrol"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/enroll/status": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** What became of an enrolment token, for whoever holds it */
        post: operations["enrolment-status"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/enrolments": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Enrolment tokens, without their secrets, newest first */
        get: operations["list-enrolments"];
        put?: never;
        /** Make a token by which one host enrols, once */
        post: operations["create-enrolment"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Server-sent events: what changes, as it changes. With Last-Event-ID it goes on after that event; `reset` says that what was missed is no longer known, and lists are to be read again */
        get: operations["watch-events"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/install.sh": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The script that an install command runs on a bare host */
        get: operations["get-install-script"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/jobs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Executions without their attempts, newest first */
        get: operations["list-jobs"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/jobs/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** One execution, with its attempts */
        get: operations["get-job"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/jobs/{id}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Stop a job; asks for the permission that its kind needs */
        post: operations["cancel-job"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/mutes": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What nobody is told of for a time, newest first */
        get: operations["list-mutes"];
        put?: never;
        /** Tell nobody of an alarm, a database, a server, a project or everything, or nothing through a channel, for a time; what happens is recorded nevertheless */
        post: operations["create-mute"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/mutes/{id}/end": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** End a mute */
        post: operations["end-mute"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/notice-kinds": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Kinds of notices, which channels may name */
        get: operations["list-notice-kinds"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/notices": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What was to be told, newest first, and what became of it at each channel */
        get: operations["list-notices"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/notices/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** One notice */
        get: operations["get-notice"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/overview": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What needs attention, the most urgent first, databases without a schedule, storages with what they hold, and the figures of all that the caller sees */
        get: operations["get-overview"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/packages/{file}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** A package of the agent, or SHA256SUMS, which names them */
        get: operations["get-package"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/pauses": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What holds scheduled backups back, newest first */
        get: operations["list-pauses"];
        put?: never;
        /** Hold back the scheduled backups of a schedule, a server, a project or everything; what is missed meanwhile is recorded, and not made up for */
        post: operations["create-pause"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/pauses/{id}/end": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** End a pause */
        post: operations["end-pause"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/pre-deploys/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What became of the backups before a deploy, and wait for them; answers as the order does */
        get: operations["get-pre-deploy"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/projects": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The projects that the caller sees, by slug */
        get: operations["list-projects"];
        put?: never;
        /** Make a project and its keys */
        post: operations["create-project"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/projects/{ref}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** One project */
        get: operations["get-project"];
        put?: never;
        post?: never;
        /** Close a project; its backups stay */
        delete: operations["delete-project"];
        options?: never;
        head?: never;
        /** Change a project */
        patch: operations["update-project"];
        trace?: never;
    };
    "/projects/{ref}/key": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The keys that open every backup of the project; written to the audit log */
        get: operations["get-project-key"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/projects/{ref}/pre-deploy": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Back up a project before a deploy, and wait for it: 200 completed; 409 backup_failed or nothing_to_back_up; 202 where the wait is over first. The same Idempotency-Key goes on waiting */
        post: operations["pre-deploy"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/projects/{ref}/servers/{server}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /** Let a project use a server */
        put: operations["grant-server"];
        post?: never;
        /** Take a server from a project */
        delete: operations["revoke-server-grant"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/projects/{ref}/statistics": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The figures of a project: backups, active schedules, storage used, last backup */
        get: operations["get-project-statistics"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/protection": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** How well each database that agents found is protected, by server, instance and name */
        get: operations["list-protection"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/protection/summary": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Databases by the state of their protection, and what is wrong, the worst first; nothing is wrong: all is well */
        get: operations["get-protection-summary"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/restores": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Restores, newest first */
        get: operations["list-restores"];
        put?: never;
        /** Restore a backup into a new database or, with in_place, in the place of one that is there. In place it is planned first: 409 with problems where something would stop it */
        post: operations["create-restore"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/restores/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** One restore, with its progress while it runs */
        get: operations["get-restore"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/restores/{id}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Stop a restore or an undo, unless its swap has begun; its target stays untouched */
        post: operations["cancel-restore"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/restores/{id}/discard": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Remove what a restore in place has replaced, before its time: it cannot be undone after that */
        post: operations["discard-kept"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/restores/{id}/keep": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Change how long, from now, what a restore in place has replaced is kept */
        post: operations["keep-kept"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/restores/{id}/undo": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Bring back what a restore in place has replaced; what is there now is kept in its turn, and can be brought back likewise */
        post: operations["undo-restore"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/restores/{id}/undo/plan": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** What the undo of a restore in place would meet and do. Nothing is changed */
        post: operations["plan-undo"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/restores/plan": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** What a restore would meet and do: what is in the backup, what is at the target, each step, and what would stop it. Nothing is changed */
        post: operations["plan-restore"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/schedules": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Schedules, with when each occurs next */
        get: operations["list-schedules"];
        put?: never;
        /** Make a schedule of one database, of all of a project, or of those whose names match */
        post: operations["create-schedule"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/schedules/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** One schedule */
        get: operations["get-schedule"];
        put?: never;
        post?: never;
        /** Delete a schedule; its backups stay */
        delete: operations["delete-schedule"];
        options?: never;
        head?: never;
        /** Change a schedule, activate it or not */
        patch: operations["update-schedule"];
        trace?: never;
    };
    "/schedules/{id}/occurrences": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What became of each occurrence: run, missed or skipped, and why; newest first */
        get: operations["list-occurrences"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/schedules/{id}/run": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Back up now what the schedule covers; 207 where some could not be ordered. Its occurrences are not changed by it */
        post: operations["run-schedule"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/schedules/preview": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** What a schedule would be; nothing is made */
        post: operations["preview-schedule"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/security-events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What only a fault, a clone or an attack explains, newest first */
        get: operations["list-security-events"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/servers": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Hosts with an agent, by name; revoked ones come last */
        get: operations["list-servers"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/servers/{ref}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** One server */
        get: operations["get-server"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/servers/{ref}/revoke": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Cut an agent off for good; its backups stay */
        post: operations["revoke-server"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/servers/{ref}/verifier": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /** Let a server open other hosts' backups to verify them, or not */
        put: operations["set-verifier"];
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/session": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Who is signed in, with permissions, projects and the CSRF token */
        get: operations["get-session"];
        put?: never;
        /** Sign in with name and password; the answer sets the cookie of the session */
        post: operations["sign-in"];
        /** End the session that asks */
        delete: operations["sign-out"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/session/methods": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The ways to sign in */
        get: operations["get-sign-in-methods"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/session/oidc": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Send the browser to the OpenID Connect provider; it comes back to return_to */
        get: operations["oidc-sign-in"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/session/oidc/callback": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Where the provider sends the browser back; the answer sets the cookie of the session */
        get: operations["oidc-callback"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/session/password": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /** Change one's own password; every other session of one's own ends */
        put: operations["change-password"];
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/sessions": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** One's own open sessions, newest first */
        get: operations["list-sessions"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/sessions/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /** End one of one's own sessions */
        delete: operations["end-session"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/settings": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Settings of the installation */
        get: operations["get-settings"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        /** Change settings of the installation */
        patch: operations["update-settings"];
        trace?: never;
    };
    "/statistics": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The figures of all that the caller sees */
        get: operations["get-statistics"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/storages": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Places for artifacts, by name */
        get: operations["list-storages"];
        put?: never;
        /** Add a storage that passes its probe */
        post: operations["create-storage"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/storages/{ref}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** One storage with its last probe */
        get: operations["get-storage"];
        put?: never;
        post?: never;
        /** Forget a storage that holds no backup */
        delete: operations["delete-storage"];
        options?: never;
        head?: never;
        /** Rename a storage, or reach it otherwise: what changed has to pass a probe */
        patch: operations["update-storage"];
        trace?: never;
    };
    "/storages/{ref}/default": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Use a storage for backups that name none */
        post: operations["set-default-storage"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/storages/{ref}/findings": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What lies on a storage and is not the catalog's; it is never touched */
        get: operations["list-findings"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/storages/{ref}/inventory": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The last inventory of a storage; of a local one that of each host, by the name of its server */
        get: operations["get-inventory"];
        put?: never;
        /** Hold a storage against the catalog now */
        post: operations["request-inventory"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/storages/{ref}/probe": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Try a storage again and record what was found */
        post: operations["probe-storage"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/tokens": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** API tokens, without their secrets, newest first */
        get: operations["list-tokens"];
        put?: never;
        /** Make an API token; it can do and see no more than the one that makes it */
        post: operations["create-token"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/tokens/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** One API token, without its secret */
        get: operations["get-token"];
        put?: never;
        post?: never;
        /** End an API token */
        delete: operations["revoke-token"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/tokens/{id}/rotate": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Give an API token a new secret; the one before works for a day, or as long as is asked for */
        post: operations["rotate-token"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/trends": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Size, duration and success day by day, in the installation's zone */
        get: operations["get-trends"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/users": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** People who can sign in and reach no further than the one who asks, by name */
        get: operations["list-users"];
        put?: never;
        /** Make a person who can sign in, with no more than the one who makes it has */
        post: operations["create-user"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/users/{ref}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** One user */
        get: operations["get-user"];
        put?: never;
        post?: never;
        /** Delete a user; the audit log keeps the name */
        delete: operations["delete-user"];
        options?: never;
        head?: never;
        /** Change what a user may do and where, or disable one */
        patch: operations["update-user"];
        trace?: never;
    };
    "/users/{ref}/password": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /** Give a user another password, and sign the user out everywhere */
        put: operations["set-password"];
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/users/{ref}/sessions": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /** Sign a user out everywhere */
        delete: operations["end-user-sessions"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/version": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Versions of the controller and its protocols */
        get: operations["get-version"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/whoami": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Who asks, and what they may do where */
        get: operations["whoami"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        AgentCount: {
            /** Format: int64 */
            offline: number;
            /** Format: int64 */
            online: number;
        };
        Alarm: {
            /** Format: int64 */
            backup_id: number | null;
            /** Format: int64 */
            channel_id: number | null;
            /** Format: date-time */
            closed_at: string | null;
            /** Format: int64 */
            count: number;
            database: string;
            /** Format: int64 */
            database_id: number | null;
            detail: string;
            /** Format: int64 */
            id: number;
            kind: string;
            /** Format: date-time */
            last_at: string;
            /** Format: date-time */
            muted_until: string | null;
            /** Format: date-time */
            opened_at: string;
            project: string;
            /** Format: int64 */
            project_id: number | null;
            /** Format: int64 */
            schedule_id: number | null;
            server: string;
            /** Format: int64 */
            server_id: number | null;
            severity: string;
            silenced: boolean;
            storage: string;
            /** Format: int64 */
            storage_id: number | null;
            title: string;
        };
        AlarmCounts: {
            /** Format: int64 */
            critical: number;
            /** Format: int64 */
            info: number;
            /** Format: int64 */
            warning: number;
        };
        APIToken: {
            /** Format: date-time */
            created_at: string;
            /** Format: date-time */
            expires_at: string | null;
            /** Format: int64 */
            id: number;
            /** @enum {string} */
            kind: "api" | "panel";
            /** Format: date-time */
            last_used_at: string | null;
            name: string;
            permissions: string[] | null;
            /** Format: date-time */
            previous_until: string | null;
            projects: number[] | null;
            /** Format: date-time */
            revoked_at: string | null;
            /** Format: date-time */
            rotated_at: string | null;
        };
        AssignDatabase: {
            /**
             * Format: int64
             * @description The database's id, or its exact name below
             */
            id?: number;
            instance?: string;
            name?: string;
            /** @description Slug, id or external id */
            project?: string;
            /** @description Name or id, where the name alone is ambiguous */
            server?: string;
        };
        Attention: {
            /** Format: date-time */
            at: string | null;
            /** Format: int64 */
            backup_id?: number;
            database?: string;
            /** Format: int64 */
            database_id?: number;
            detail: string;
            kind: string;
            project?: string;
            /** Format: int64 */
            project_id?: number;
            /** Format: int64 */
            restore_id?: number;
            /** Format: int64 */
            schedule_id?: number;
            server?: string;
            /** Format: int64 */
            server_id?: number;
            severity: string;
            storage?: string;
            /** Format: int64 */
            storage_id?: number;
            title: string;
        };
        AuditCheck: {
            /** Format: int64 */
            anchors: number;
            /** Format: int64 */
            bad_id: number;
            /** Format: int64 */
            bad_seq: number;
            head: components["schemas"]["AuditHead"];
            ok: boolean;
            problem: string;
            /** Format: int64 */
            rows: number;
            warnings: string[] | null;
        };
        AuditEntry: {
            action: string;
            actor: string;
            /** Format: date-time */
            at: string;
            detail: unknown;
            hash: string;
            /** Format: int64 */
            id: number;
            on_behalf_of: string;
            prev_hash: string;
            /** Format: int64 */
            project_id: number | null;
            remote: string;
            result: string;
            /** Format: int64 */
            seq: number | null;
            subject: string;
            /** Format: int64 */
            token_id: number | null;
        };
        AuditHead: {
            /** Format: date-time */
            at: string;
            hash: string;
            /** Format: int64 */
            seq: number;
        };
        Backup: {
            /** Format: int64 */
            attempt: number;
            checksum: string | null;
            /** Format: date-time */
            completed_at: string | null;
            compression: string;
            /** Format: date-time */
            created_at: string;
            /** Format: int64 */
            database_id: number;
            database_name: string;
            database_type: string;
            /** Format: date-time */
            delete_after: string | null;
            delete_reason: string | null;
            /** Format: date-time */
            deleted_at: string | null;
            display: components["schemas"]["BackupDisplay"];
            encryption: string;
            error_code: string | null;
            error_hint: string | null;
            error_message: string | null;
            file_name: string;
            file_path: string;
            /** Format: int64 */
            file_size: number | null;
            health: string;
            /** Format: date-time */
            health_at: string | null;
            health_reason: string;
            /** Format: date-time */
            held_at: string | null;
            held_by: string;
            hold_reason: string;
            /** Format: int64 */
            id: number;
            instance: string;
            /** Format: int64 */
            job_id: number;
            job_status: string;
            /** Format: int64 */
            level: number;
            /** Format: date-time */
            locked_until: string | null;
            metadata: unknown;
            /** Format: date-time */
            occurrence_at: string | null;
            progress?: components["schemas"]["Progress"];
            project: string;
            /** Format: int64 */
            project_id: number;
            /** Format: date-time */
            purged_at: string | null;
            raw_checksum: string | null;
            /** Format: int64 */
            raw_size: number | null;
            /** Format: int64 */
            retry_of: number | null;
            same_host: boolean;
            /** Format: int64 */
            schedule_id: number | null;
            server: string;
            /** Format: int64 */
            server_id: number;
            /** Format: date-time */
            started_at: string | null;
            status: string;
            storage: string;
            storage_disk: string;
            /** Format: int64 */
            storage_id: number;
            type: string;
            /** Format: date-time */
            verified_at: string | null;
            verified_by_host: boolean;
            verified_level: string | null;
            verify_after: string;
            waiting: string;
        };
        BackupDisplay: {
            duration: string;
            engine: string;
            file_name: string;
            health: components["schemas"]["Badge"] | null;
            message: string;
            raw_size: string;
            shield: components["schemas"]["Badge"];
            size: string;
            status: components["schemas"]["Badge"];
            storage: string;
            type: string;
        };
        BackupFacts: {
            /** Format: int64 */
            database_bytes?: number;
            extensions?: string[] | null;
            objects: string[] | null;
            /** Format: int64 */
            raw_bytes: number;
            server_version?: string;
            /** Format: int64 */
            stored_bytes: number;
            /** Format: int64 */
            tables: number;
            tool?: string;
            tool_version?: string;
        };
        BackupOutcome: {
            backup?: components["schemas"]["Backup"];
            database: string;
            error?: components["schemas"]["OutcomeError"];
            instance: string;
            server: string;
        };
        Badge: {
            colour: string;
            icon: string;
            label: string;
        };
        ChangePassword: {
            new_password: string;
            old_password: string;
        };
        Channel: {
            /** Format: date-time */
            created_at: string;
            created_by: string;
            /** Format: date-time */
            failing_since: string | null;
            /** Format: int64 */
            failures: number;
            fallback: string;
            /** Format: int64 */
            fallback_id: number | null;
            hint: string;
            /** Format: int64 */
            id: number;
            is_active: boolean;
            is_default: boolean;
            kind: string;
            kinds: string[];
            last_error: string;
            /** Format: date-time */
            last_sent_at: string | null;
            min_severity: string;
            /** Format: date-time */
            muted_until: string | null;
            name: string;
            project: string;
            /** Format: int64 */
            project_id: number | null;
            /** Format: int64 */
            remind_hours: number;
            /** Format: date-time */
            updated_at: string;
            /** Format: int64 */
            waiting: number;
        };
        ChannelKind: {
            example: string;
            fields: string[];
            kind: string;
            optional: string[];
            text: string;
            title: string;
        };
        ChannelTarget: {
            /** @description Of email: the sender */
            from?: string;
            /** @description Of email: the SMTP server */
            host?: string;
            password?: string;
            /**
             * Format: int64
             * @description Of email; 587 if absent, or 465 with tls: implicit
             */
            port?: number;
            /** @description Of a webhook: the key of its signature */
            secret?: string;
            /**
             * @description Of email; starttls if absent
             * @enum {string}
             */
            tls?: "starttls" | "implicit" | "none";
            /** @description Of email: the recipients */
            to?: string[] | null;
            /** @description Of a webhook, or of a service: as the service gives it, or a shoutrrr URL */
            url?: string;
            /** @description Of email; no authentication if absent */
            username?: string;
        };
        ChosenRestoreChoices: {
            definers?: string;
            /** Format: int64 */
            jobs?: number;
            only?: components["schemas"]["ChosenSelection"][] | null;
            owners?: boolean;
            privileges?: boolean;
            roles?: boolean;
        };
        ChosenSelection: {
            schema?: string;
            table?: string;
        };
        Cleanup: {
            /** @description Show the plan and change nothing */
            dry_run?: boolean;
            /**
             * Format: int64
             * @description How long what is removed can be taken back; the installation's grace if absent
             */
            grace_seconds?: number;
            /** @description Slug, id or external id; all that the token sees if absent */
            project?: string;
            /**
             * Format: int64
             * @description Only what this schedule made
             */
            schedule_id?: number;
        };
        CleanupItem: {
            action: string;
            /** Format: date-time */
            at: string | null;
            /** Format: int64 */
            backup_id: number;
            /** Format: date-time */
            completed_at: string | null;
            database_name: string;
            /** Format: date-time */
            delete_after: string | null;
            error: string;
            file_name: string;
            /** Format: int64 */
            file_size: number;
            project: string;
            reasons: components["schemas"]["CleanupReason"][] | null;
            removed: boolean;
            /** Format: int64 */
            schedule_id: number;
            server: string;
            type: string;
        };
        CleanupReason: {
            code: string;
            text: string;
        };
        CleanupResult: {
            dry_run: boolean;
            /** Format: int64 */
            failed: number;
            items: components["schemas"]["CleanupItem"][] | null;
            /** Format: int64 */
            kept: number;
            /** Format: int64 */
            postponed: number;
            /** Format: int64 */
            removed: number;
            /** Format: int64 */
            removed_bytes: number;
            truncated: boolean;
        };
        CreateBackups: {
            /**
             * @description zstd if absent
             * @enum {string}
             */
            compression?: "zstd" | "gzip" | "none";
            /** @description Exact name or id; each assigned one if absent */
            database?: string;
            /** @description Instead of encryption. true: the project's default, or aes-256-cbc if that is none; false: none */
            encrypt?: boolean;
            /**
             * @description The project's default if absent
             * @enum {string}
             */
            encryption?: "age" | "aes-256-cbc" | "none";
            instance?: string;
            /**
             * Format: int64
             * @description 1–19 for zstd, 3 if absent; 1–9 for gzip, 6 if absent
             */
            level?: number;
            /**
             * Format: int64
             * @description 3600 if absent
             */
            max_duration_seconds?: number;
            /** @description Slug, id or external id; all projects if absent */
            project?: string;
            /** @description Name or id, where the database's name alone is ambiguous */
            server?: string;
            /** @description Name or id; the project's, else the installation's default if absent */
            storage?: string;
            /**
             * @description The default storage of that kind; local is the database's own host
             * @enum {string}
             */
            storage_disk?: "s3" | "local";
            /**
             * @description manual if absent
             * @enum {string}
             */
            type?: "manual" | "scheduled" | "pre_deploy";
            /**
             * @description Verify each backup once it is completed; none if absent
             * @enum {string}
             */
            verify_after?: "none" | "checksum" | "content";
        };
        CreateChannel: {
            /** @description It takes what no channel of a project takes, and what is of no project; several may be */
            default?: boolean;
            /** @description Name or id of the channel that takes its place when it fails */
            fallback?: string;
            /** @description email, webhook, or a service; GET /channel-kinds lists them */
            kind: string;
            /** @description Of notices that it takes; all but those that are off unless named if absent */
            kinds?: string[] | null;
            /**
             * @description The least that it takes; info if absent
             * @enum {string}
             */
            min_severity?: "info" | "warning" | "critical";
            name: string;
            /** @description Slug, id or external id; of the installation if absent */
            project?: string;
            /**
             * Format: int64
             * @description How often it is reminded of an alarm that stands; 24 if absent, 0: never
             */
            remind_hours?: number;
            target: components["schemas"]["ChannelTarget"];
        };
        CreateDownload: {
            /**
             * @description stored if absent: as it lies in the storage; dump is decrypted and decompressed, and asks for restore-backups as well
             * @enum {string}
             */
            format?: "stored" | "dump";
            /**
             * @description artifact if absent
             * @enum {string}
             */
            object?: "artifact" | "fingerprint" | "globals" | "manifest";
            /**
             * @description auto if absent: from the store itself where that can be; controller: through the controller, for those who cannot reach the store
             * @enum {string}
             */
            via?: "auto" | "controller";
        };
        CreateEnrolment: {
            /** @description The install command lets setup make the agent's accounts in the databases that it finds */
            grant?: boolean;
            /** @description Slug, id or external id of a project that may use the server */
            project?: string;
            /** @description The host takes the place of the server of that name, revoked or not: databases, backups, schedules and grants stay; the host that was there is cut off */
            replace?: boolean;
            server_name: string;
            /**
             * Format: int64
             * @description How long it is valid; 3600 if absent
             */
            ttl_seconds?: number;
            /** @description The server may open other hosts' backups to verify them */
            verifier?: boolean;
        };
        CreateMute: {
            /**
             * Format: int64
             * @description For how long, at most 90 days; or until
             */
            for_seconds?: number;
            /** @description Only notices of one kind */
            kind?: string;
            /** @description For those who wonder why nobody was told */
            reason: string;
            /** @description Which one: slug, name or id; of an alarm its id; none of everything */
            ref?: string;
            /** @enum {string} */
            scope: "everything" | "project" | "server" | "database" | "channel" | "alarm";
            /** Format: date-time */
            until?: string | null;
        };
        CreatePause: {
            /** @description Slug, id or external id */
            project?: string;
            /** @description For those who wonder why nothing runs */
            reason: string;
            /** Format: int64 */
            schedule_id?: number;
            /**
             * @description By what else is given if absent
             * @enum {string}
             */
            scope?: "everything" | "project" | "server" | "schedule";
            /** @description Name or id */
            server?: string;
            /**
             * Format: date-time
             * @description Until it is ended if absent
             */
            until?: string | null;
        };
        CreatePreDeploy: {
            /** @description Exact names or ids; each assigned one if absent */
            databases?: string[] | null;
            /**
             * Format: int64
             * @description Backups that are not completed by then have failed; 900 if absent
             */
            deadline_seconds?: number;
            /** @description Name or id; the project's, else the installation's default if absent */
            storage?: string;
            /**
             * Format: int64
             * @description How long this request waits for the end; up to the deadline, at most an hour, if absent
             */
            wait_seconds?: number;
        };
        CreateProject: {
            /** @description What the keys of aes-256-cbc are derived from: base64: and 32 bytes, or a text of at least 16 bytes. It never changes; one is made if absent */
            app_key?: string;
            /**
             * @description For backups that do not say; age if absent
             * @enum {string}
             */
            default_encryption?: "age" | "aes-256-cbc" | "none";
            /** @description A schedule of scope default: for the databases that no other one covers, those assigned later too */
            default_schedule?: components["schemas"]["ScheduleOptions"];
            /** @description Name or id */
            default_storage?: string;
            /** @description age recipients that can open every backup encrypted by age as well */
            escrow_recipients?: string[] | null;
            /** @description The panel's id of the project */
            external_id?: string;
            /** @description For people; the slug if absent */
            name?: string;
            /**
             * @description Unique: a–z, 0–9 and -, not only digits
             * @example shop
             */
            slug: string;
        };
        CreateRestore: {
            /** Format: int64 */
            backup_id: number;
            choices?: components["schemas"]["RestoreChoices"];
            /** @description The target's name, as a person typed it; a plan does without */
            confirm?: string;
            /** @description What a plan found at the target; refused where it is another one by now */
            identity?: string;
            /** @description Put it in the place of the database of that name, whose content is kept for a time */
            in_place?: boolean;
            /**
             * Format: int64
             * @description How long what is replaced is kept; 259200, three days, if absent
             */
            keep_seconds?: number;
            /**
             * @description What is done about other sessions at the target; refuse if absent
             * @enum {string}
             */
            sessions?: "refuse" | "wait" | "end";
            /** @description In place: leave out the backup of the target that is made first */
            skip_safety_backup?: boolean;
            /** @description The database's name; the backup's own if absent */
            to_database?: string;
            /** @description The backup's own, or the only one of its engine, if absent */
            to_instance?: string;
            /** @description Name or id; the backup's own if absent */
            to_server?: string;
            /**
             * Format: int64
             * @description With sessions wait: how long
             */
            wait_seconds?: number;
        };
        CreateSchedule: {
            /**
             * Format: int64
             * @description After a downtime the newest missed occurrence is run if it is not older; 0: never. Absent: whatever its age
             */
            catch_up_seconds?: number | null;
            /**
             * @description zstd if absent
             * @enum {string}
             */
            compression?: "zstd" | "gzip" | "none";
            /**
             * @description Of cron: minute, hour, day of month, month, day of week
             * @example 15 3 * * 1-5
             */
            cron?: string;
            /**
             * Format: int64
             * @description Of scope database: its id, or its exact name below
             */
            database_id?: number;
            database_name?: string;
            /**
             * @description Only databases of this engine
             * @enum {string}
             */
            database_type?: "postgresql" | "mysql" | "sqlite";
            /**
             * Format: int64
             * @description Of monthly; the last day of a month that is shorter
             */
            day_of_month?: number | null;
            /**
             * Format: int64
             * @description Of weekly: 0 is Sunday
             */
            day_of_week?: number | null;
            /** @description Instead of encryption. true: the project's default, or aes-256-cbc if that is none; false: none */
            encrypt?: boolean | null;
            /**
             * @description The project's default if absent
             * @enum {string}
             */
            encryption?: "age" | "aes-256-cbc" | "none";
            /** @enum {string} */
            frequency: "hourly" | "daily" | "weekly" | "monthly" | "cron";
            instance?: string;
            /** @description true if absent */
            is_active?: boolean | null;
            /**
             * Format: int64
             * @description 1–19 for zstd, 3 if absent; 1–9 for gzip, 6 if absent
             */
            level?: number;
            /**
             * Format: int64
             * @description 3600 if absent
             */
            max_duration_seconds?: number;
            /** @description true if absent */
            notify_on_failure?: boolean | null;
            /**
             * @description Of scope pattern: * is any text, ? any one character
             * @example shop_*
             */
            pattern?: string;
            /** @description A dead-man switch: it is asked for with /start when a backup begins, as it is when one is completed, and with /fail when one failed. It is a secret; ping_hint shows its host */
            ping_url?: string;
            /** @description Slug, id or external id */
            project: string;
            /**
             * Format: int64
             * @description Of days; 7 if absent
             */
            retention_daily?: number | null;
            /**
             * Format: int64
             * @description Keep all that are younger; 0: off. Absent: 30, or 0 if it occurs several times a day
             */
            retention_days?: number | null;
            /**
             * Format: int64
             * @description Keep the newest of each of the last so many hours that have one. Absent: 0, or 24 if it occurs several times a day
             */
            retention_hourly?: number | null;
            /**
             * Format: int64
             * @description Of months; 3 if absent
             */
            retention_monthly?: number | null;
            /**
             * Format: int64
             * @description Of weeks; 4 if absent
             */
            retention_weekly?: number | null;
            /**
             * @description database: one; project: all, those found later too; pattern: by name; default: those that no other active schedule covers. Absent: by what else is given
             * @enum {string}
             */
            scope?: "database" | "project" | "pattern" | "default";
            /** @description Name or id, where the database's name alone is ambiguous */
            server?: string;
            /**
             * Format: int64
             * @description Its backups begin up to so much later, always by the same time; 0: at the time itself. Absent: 900 if it occurs once a day or more rarely, else 0
             */
            spread_seconds?: number | null;
            /** @description Name or id; the project's, else the installation's default if absent */
            storage?: string;
            /**
             * @description The default storage of that kind; local is the database's own host
             * @enum {string}
             */
            storage_disk?: "s3" | "local";
            /**
             * @description HH:MM or HH:MM:SS on the zone's clock; of hourly only the minute and second are used
             * @example 02:00
             */
            time?: string;
            /**
             * @description IANA name; UTC if absent
             * @example Europe/Berlin
             */
            timezone?: string;
            /**
             * @description Verify each backup once it is completed; none if absent
             * @enum {string}
             */
            verify_after?: "none" | "checksum" | "content";
        };
        CreateStorage: {
            /** @description Of s3 */
            access_key?: string;
            /** @description Of s3 */
            bucket?: string;
            /** @description Use it for backups that name none */
            default?: boolean;
            /**
             * @description URL of the store; AWS by region if absent
             * @example https://s3.example.com
             */
            endpoint?: string;
            /** @description Add it although the probe failed; it is not used before a probe passes */
            force?: boolean;
            /**
             * @description s3 if absent; local is the backup directory of each database's own host
             * @enum {string}
             */
            kind?: "s3" | "local";
            name: string;
            /** @description Bucket in the path, not in the host name; true if absent and an endpoint is given */
            path_style?: boolean;
            /** @description Put before every key */
            prefix?: string;
            /** @description Slug, id or external id; for all projects if absent */
            project?: string;
            /** @description us-east-1 if absent */
            region?: string;
            /** @description Of s3 */
            secret_key?: string;
        };
        CreateToken: {
            /**
             * @description panel: each request names the user that it acts for, with that user's permissions and projects
             * @default api
             * @enum {string}
             */
            kind?: "api" | "panel";
            name: string;
            permissions: string[];
            /** @description Slugs, ids or external ids; all projects if absent */
            projects?: string[] | null;
            /**
             * Format: int64
             * @description How long it is valid; absent or 0 for good
             */
            ttl_seconds?: number;
        };
        CreateUser: {
            /** @description Every permission, in the user's projects */
            admin?: boolean;
            display_name?: string;
            /** @description To sign in with; a-z, 0-9 and . _ @ + - */
            name: string;
            /** @description At least 12 characters; without one the user cannot sign in before it is set */
            password?: string;
            permissions?: string[] | null;
            /** @description Slugs, ids or external ids; all projects if absent */
            projects?: string[] | null;
        };
        CreateVerifications: {
            all?: boolean;
            /**
             * @description checksum if absent
             * @enum {string}
             */
            level?: "checksum" | "content";
            /** @description Slug, id or external id */
            project?: string;
        };
        CreateVerify: {
            /**
             * @description checksum if absent
             * @enum {string}
             */
            level?: "checksum" | "content";
        };
        Database: {
            engine: string;
            extensions: string[] | null;
            /** Format: date-time */
            first_seen_at: string;
            /** Format: int64 */
            id: number;
            instance: string;
            /** Format: date-time */
            last_seen_at: string;
            /** Format: date-time */
            missing_since: string | null;
            name: string;
            project: string;
            /** Format: int64 */
            project_id: number | null;
            server: string;
            /** Format: int64 */
            server_id: number;
            server_version: string;
            /** Format: int64 */
            size_bytes: number;
        };
        DeleteBackup: {
            /** @description The database's name, asked for where this is its last good backup */
            confirm?: string;
            /**
             * Format: int64
             * @description How long it can be taken back; the installation's grace if absent
             */
            grace_seconds?: number;
            reason?: string;
        };
        DiscardKept: {
            /** @description The target's name, as a person typed it */
            confirm: string;
        };
        Download: {
            /** @description SHA-256 of these bytes */
            checksum: string;
            /** @description The link leads to the store, not to the controller */
            direct: boolean;
            /**
             * Format: date-time
             * @description A transfer that has begun by then goes on
             */
            expires_at: string;
            file_name: string;
            format: string;
            object: string;
            /**
             * Format: int64
             * @description Bytes that the link gives
             */
            size: number;
            /** @description GET it, without a token; a link to the controller works once */
            url: string;
        };
        Enrol: {
            agent_version: string;
            /** @description A description of the machine */
            host: unknown;
            /** @description Public key of the agent's user at the broker */
            nkey: string;
            /** Format: int64 */
            protocol: number;
            /** @description age recipient of secrets for it */
            recipient: string;
            /** @description Ed25519 public key of its statements */
            signing_key: string;
            token: string;
        } & {
            [key: string]: unknown;
        };
        Enrolled: {
            ca_pem: string;
            /** @description The keys whose directives it obeys */
            key_set: components["schemas"]["KeySet"];
            nats_jwt: string;
            nats_urls: string[];
            /** @description The agent's id in subjects and manifests */
            server_id: string;
            server_name: string;
        };
        Enrolment: {
            /** Format: date-time */
            created_at: string;
            /** Format: date-time */
            expires_at: string;
            /** Format: int64 */
            id: number;
            /** Format: int64 */
            project_id: number | null;
            /** Format: int64 */
            replaces: number | null;
            /** Format: int64 */
            server_id: number | null;
            server_name: string;
            /** Format: date-time */
            used_at: string | null;
            verifier: boolean;
        };
        EnrolmentStatus: {
            expired: boolean;
            online: boolean;
            revoked: boolean;
            server_id: string;
            server_name: string;
            used: boolean;
        };
        EnrolmentToken: {
            token: string;
        };
        Failure: {
            code: string;
            hint?: string;
            message: string;
            retryable?: boolean;
            stage?: string;
        };
        FieldError: {
            field: string;
            message: string;
        };
        HoldBackup: {
            reason: string;
        };
        Host: {
            arch: string;
            /** Format: int64 */
            cpus: number;
            /** Format: int64 */
            disk_free?: number;
            hostname: string;
            kernel?: string;
            /** Format: int64 */
            load_milli?: number;
            local?: components["schemas"]["LocalDir"];
            /** Format: int64 */
            memory_bytes?: number;
            os: string;
            /** Format: int64 */
            uptime_seconds?: number;
        };
        IgnoreDatabase: {
            /** @description For those who wonder why it is not backed up */
            reason: string;
        };
        Instance: {
            engine: string;
            error: string;
            in_place: boolean;
            name: string;
            restore: boolean;
            version: string;
        };
        Job: {
            /** Format: int64 */
            attempt_no: number;
            attempts?: components["schemas"]["JobAttempt"][] | null;
            /** Format: int64 */
            backup_id: number;
            /** Format: date-time */
            cancel_requested_at: string | null;
            /** Format: date-time */
            created_at: string;
            created_by: string;
            database_name: string;
            /** Format: date-time */
            ended_at: string | null;
            failure: components["schemas"]["Failure"] | null;
            /** Format: int64 */
            id: number;
            kind: string;
            level: string | null;
            /** Format: int64 */
            max_attempts: number;
            progress?: components["schemas"]["Progress"];
            project: string;
            /** Format: int64 */
            project_id: number;
            /** Format: int64 */
            restore_id: number | null;
            server: string;
            /** Format: int64 */
            server_id: number;
            /** Format: date-time */
            started_at: string | null;
            status: string;
            waiting: string;
        };
        JobAttempt: {
            /** Format: date-time */
            accepted_at: string | null;
            /** Format: date-time */
            created_at: string;
            /** Format: date-time */
            ended_at: string | null;
            failure: components["schemas"]["Failure"] | null;
            log: string;
            millis: {
                [key: string]: number;
            };
            /** Format: int64 */
            no: number;
            status: string;
            suspect: boolean;
        };
        KeepKept: {
            /** Format: int64 */
            keep_seconds: number;
        };
        Key: {
            id: string;
            public: string;
        };
        KeySet: {
            keys: components["schemas"]["Key"][] | null;
            /** Format: int64 */
            version: number;
        };
        LastBackup: {
            /** Format: date-time */
            completed_at: string;
            database_name: string;
            /** Format: int64 */
            id: number;
            project: string;
        };
        ListBackupOutcome: {
            items: components["schemas"]["BackupOutcome"][];
        };
        ListChannelKind: {
            items: components["schemas"]["ChannelKind"][];
        };
        ListJob: {
            items: components["schemas"]["Job"][];
        };
        ListNoticeKind: {
            items: components["schemas"]["NoticeKind"][];
        };
        ListSession: {
            items: components["schemas"]["SignInSession"][];
        };
        ListStorageFinding: {
            items: components["schemas"]["StorageFinding"][];
        };
        ListStorageInventory: {
            items: components["schemas"]["StorageInventory"][];
        };
        LocalDir: {
            dir: string;
            error?: string;
            /** Format: int64 */
            free_bytes: number;
            /** Format: int64 */
            min_free: number;
            /** Format: int64 */
            total_bytes: number;
        };
        Mute: {
            alarm: string;
            /** Format: int64 */
            alarm_id: number | null;
            /** Format: int64 */
            backup_id: number | null;
            channel: string;
            /** Format: int64 */
            channel_id: number | null;
            /** Format: date-time */
            created_at: string;
            created_by: string;
            database: string;
            /** Format: int64 */
            database_id: number | null;
            /** Format: date-time */
            ended_at: string | null;
            ended_by: string;
            /** Format: int64 */
            id: number;
            kind: string;
            project: string;
            /** Format: int64 */
            project_id: number | null;
            reason: string;
            /** Format: int64 */
            schedule_id: number | null;
            scope: string;
            server: string;
            /** Format: int64 */
            server_id: number | null;
            storage: string;
            /** Format: int64 */
            storage_id: number | null;
            /** Format: date-time */
            until: string;
        };
        NewEnrolment: {
            /** @description SHA-256 of /ca.pem, which the install command holds the controller to */
            ca_sha256: string;
            /** @description What to run on a database host that has the agent */
            command: string;
            /** Format: date-time */
            created_at: string;
            /** Format: date-time */
            expires_at: string;
            /** Format: int64 */
            id: number;
            /** @description One line for a root shell of a bare host: installs, enrols, finds databases and starts the agent. Empty if hosts cannot be told where the controller is */
            install_command: string;
            /** @description Why there is no install command, and what to do */
            install_hint?: string;
            /** Format: int64 */
            project_id: number | null;
            /** Format: int64 */
            replaces: number | null;
            /** Format: int64 */
            server_id: number | null;
            server_name: string;
            token: string;
            /** Format: date-time */
            used_at: string | null;
            verifier: boolean;
        };
        NewToken: {
            /** Format: date-time */
            created_at: string;
            /** Format: date-time */
            expires_at: string | null;
            /** Format: int64 */
            id: number;
            /** @enum {string} */
            kind: "api" | "panel";
            /** Format: date-time */
            last_used_at: string | null;
            name: string;
            permissions: string[] | null;
            /** Format: date-time */
            previous_until: string | null;
            projects: number[] | null;
            /** Format: date-time */
            revoked_at: string | null;
            /** Format: date-time */
            rotated_at: string | null;
            token: string;
        };
        Notice: {
            /** Format: int64 */
            alarm_id: number | null;
            /** Format: date-time */
            at: string;
            /** Format: int64 */
            backup_id: number | null;
            database: string;
            /** Format: int64 */
            database_id: number | null;
            deliveries: components["schemas"]["NoticeDelivery"][];
            detail: string;
            event: string;
            /** Format: int64 */
            id: number;
            kind: string;
            project: string;
            /** Format: int64 */
            project_id: number | null;
            /** Format: int64 */
            restore_id: number | null;
            /** Format: int64 */
            schedule_id: number | null;
            server: string;
            /** Format: int64 */
            server_id: number | null;
            severity: string;
            storage: string;
            /** Format: int64 */
            storage_id: number | null;
            title: string;
            unsent: string;
        };
        NoticeDelivery: {
            /** Format: int64 */
            attempts: number;
            channel: string;
            /** Format: int64 */
            channel_id: number;
            error: string;
            fallback: string;
            /** Format: int64 */
            fallback_id: number | null;
            fallback_status: string;
            /** Format: date-time */
            sent_at: string | null;
            status: string;
        };
        NoticeKind: {
            kind: string;
            off: boolean;
            severity: string;
            stands: boolean;
            text: string;
        };
        Occurrence: {
            /** Format: date-time */
            at: string;
            /** Format: date-time */
            due: string;
        };
        OccurrenceDatabase: {
            /** Format: int64 */
            backup_id: number | null;
            code: string;
            /** Format: int64 */
            database_id: number;
            database_name: string;
            reason: string;
            server: string;
            state: string;
            status: string;
        };
        OccurrencePage: {
            items: components["schemas"]["ScheduleOccurrence"][];
            /** Format: date-time */
            next_before: string | null;
        };
        OIDCSign: {
            /** @description What to write on the button */
            title: string;
            /** @description Where the browser goes; return_to is the page that it comes back to */
            url: string;
        };
        OutcomeError: {
            code: string;
            detail: string;
            field?: string;
            hint?: string;
        };
        Overview: {
            agents: components["schemas"]["AgentCount"];
            attention: components["schemas"]["Attention"][] | null;
            counts: {
                [key: string]: number;
            };
            databases_without_schedule: components["schemas"]["Database"][] | null;
            more: boolean;
            statistics: components["schemas"]["Statistics"];
            storages: components["schemas"]["Storage"][] | null;
            today: components["schemas"]["TrendDay"];
        };
        PageAPIToken: {
            items: components["schemas"]["APIToken"][];
            /**
             * Format: int64
             * @description The last page that there is, or that can be asked for by its number
             */
            last_page?: number;
            /** Format: int64 */
            next_before_id: number | null;
            /** Format: int64 */
            page?: number;
            /** Format: int64 */
            per_page?: number;
            /**
             * Format: int64
             * @description How many rows there are
             */
            total?: number;
            /** @description There are more than total: rows are counted up to 10000 */
            total_more?: boolean;
        };
        PageAuditEntry: {
            items: components["schemas"]["AuditEntry"][];
            /**
             * Format: int64
             * @description The last page that there is, or that can be asked for by its number
             */
            last_page?: number;
            /** Format: int64 */
            next_before_id: number | null;
            /** Format: int64 */
            page?: number;
            /** Format: int64 */
            per_page?: number;
            /**
             * Format: int64
             * @description How many rows there are
             */
            total?: number;
            /** @description There are more than total: rows are counted up to 10000 */
            total_more?: boolean;
        };
        PageBackup: {
            items: components["schemas"]["Backup"][];
            /**
             * Format: int64
             * @description The last page that there is, or that can be asked for by its number
             */
            last_page?: number;
            /** Format: int64 */
            next_before_id: number | null;
            /** Format: int64 */
            page?: number;
            /** Format: int64 */
            per_page?: number;
            /**
             * Format: int64
             * @description How many rows there are
             */
            total?: number;
            /** @description There are more than total: rows are counted up to 10000 */
            total_more?: boolean;
        };
        PageEnrolment: {
            items: components["schemas"]["Enrolment"][];
            /**
             * Format: int64
             * @description The last page that there is, or that can be asked for by its number
             */
            last_page?: number;
            /** Format: int64 */
            next_before_id: number | null;
            /** Format: int64 */
            page?: number;
            /** Format: int64 */
            per_page?: number;
            /**
             * Format: int64
             * @description How many rows there are
             */
            total?: number;
            /** @description There are more than total: rows are counted up to 10000 */
            total_more?: boolean;
        };
        PageJob: {
            items: components["schemas"]["Job"][];
            /**
             * Format: int64
             * @description The last page that there is, or that can be asked for by its number
             */
            last_page?: number;
            /** Format: int64 */
            next_before_id: number | null;
            /** Format: int64 */
            page?: number;
            /** Format: int64 */
            per_page?: number;
            /**
             * Format: int64
             * @description How many rows there are
             */
            total?: number;
            /** @description There are more than total: rows are counted up to 10000 */
            total_more?: boolean;
        };
        PageMute: {
            items: components["schemas"]["Mute"][];
            /**
             * Format: int64
             * @description The last page that there is, or that can be asked for by its number
             */
            last_page?: number;
            /** Format: int64 */
            next_before_id: number | null;
            /** Format: int64 */
            page?: number;
            /** Format: int64 */
            per_page?: number;
            /**
             * Format: int64
             * @description How many rows there are
             */
            total?: number;
            /** @description There are more than total: rows are counted up to 10000 */
            total_more?: boolean;
        };
        PageNotice: {
            items: components["schemas"]["Notice"][];
            /**
             * Format: int64
             * @description The last page that there is, or that can be asked for by its number
             */
            last_page?: number;
            /** Format: int64 */
            next_before_id: number | null;
            /** Format: int64 */
            page?: number;
            /** Format: int64 */
            per_page?: number;
            /**
             * Format: int64
             * @description How many rows there are
             */
            total?: number;
            /** @description There are more than total: rows are counted up to 10000 */
            total_more?: boolean;
        };
        PagePause: {
            items: components["schemas"]["Pause"][];
            /**
             * Format: int64
             * @description The last page that there is, or that can be asked for by its number
             */
            last_page?: number;
            /** Format: int64 */
            next_before_id: number | null;
            /** Format: int64 */
            page?: number;
            /** Format: int64 */
            per_page?: number;
            /**
             * Format: int64
             * @description How many rows there are
             */
            total?: number;
            /** @description There are more than total: rows are counted up to 10000 */
            total_more?: boolean;
        };
        PageRestore: {
            items: components["schemas"]["Restore"][];
            /**
             * Format: int64
             * @description The last page that there is, or that can be asked for by its number
             */
            last_page?: number;
            /** Format: int64 */
            next_before_id: number | null;
            /** Format: int64 */
            page?: number;
            /** Format: int64 */
            per_page?: number;
            /**
             * Format: int64
             * @description How many rows there are
             */
            total?: number;
            /** @description There are more than total: rows are counted up to 10000 */
            total_more?: boolean;
        };
        PageSecurityEvent: {
            items: components["schemas"]["SecurityEvent"][];
            /**
             * Format: int64
             * @description The last page that there is, or that can be asked for by its number
             */
            last_page?: number;
            /** Format: int64 */
            next_before_id: number | null;
            /** Format: int64 */
            page?: number;
            /** Format: int64 */
            per_page?: number;
            /**
             * Format: int64
             * @description How many rows there are
             */
            total?: number;
            /** @description There are more than total: rows are counted up to 10000 */
            total_more?: boolean;
        };
        PartAlarm: {
            items: components["schemas"]["Alarm"][];
            /**
             * Format: int64
             * @description The last page that there is, or that can be asked for by its number
             */
            last_page?: number;
            /** Format: int64 */
            next_after_id: number | null;
            /** Format: int64 */
            page?: number;
            /** Format: int64 */
            per_page?: number;
            /**
             * Format: int64
             * @description How many rows there are
             */
            total?: number;
            /** @description There are more than total: rows are counted up to 10000 */
            total_more?: boolean;
        };
        PartChannel: {
            items: components["schemas"]["Channel"][];
            /**
             * Format: int64
             * @description The last page that there is, or that can be asked for by its number
             */
            last_page?: number;
            /** Format: int64 */
            next_after_id: number | null;
            /** Format: int64 */
            page?: number;
            /** Format: int64 */
            per_page?: number;
            /**
             * Format: int64
             * @description How many rows there are
             */
            total?: number;
            /** @description There are more than total: rows are counted up to 10000 */
            total_more?: boolean;
        };
        PartDatabase: {
            items: components["schemas"]["Database"][];
            /**
             * Format: int64
             * @description The last page that there is, or that can be asked for by its number
             */
            last_page?: number;
            /** Format: int64 */
            next_after_id: number | null;
            /** Format: int64 */
            page?: number;
            /** Format: int64 */
            per_page?: number;
            /**
             * Format: int64
             * @description How many rows there are
             */
            total?: number;
            /** @description There are more than total: rows are counted up to 10000 */
            total_more?: boolean;
        };
        PartProject: {
            items: components["schemas"]["Project"][];
            /**
             * Format: int64
             * @description The last page that there is, or that can be asked for by its number
             */
            last_page?: number;
            /** Format: int64 */
            next_after_id: number | null;
            /** Format: int64 */
            page?: number;
            /** Format: int64 */
            per_page?: number;
            /**
             * Format: int64
             * @description How many rows there are
             */
            total?: number;
            /** @description There are more than total: rows are counted up to 10000 */
            total_more?: boolean;
        };
        PartProtection: {
            items: components["schemas"]["Protection"][];
            /**
             * Format: int64
             * @description The last page that there is, or that can be asked for by its number
             */
            last_page?: number;
            /** Format: int64 */
            next_after_id: number | null;
            /** Format: int64 */
            page?: number;
            /** Format: int64 */
            per_page?: number;
            /**
             * Format: int64
             * @description How many rows there are
             */
            total?: number;
            /** @description There are more than total: rows are counted up to 10000 */
            total_more?: boolean;
        };
        PartServer: {
            items: components["schemas"]["Server"][];
            /**
             * Format: int64
             * @description The last page that there is, or that can be asked for by its number
             */
            last_page?: number;
            /** Format: int64 */
            next_after_id: number | null;
            /** Format: int64 */
            page?: number;
            /** Format: int64 */
            per_page?: number;
            /**
             * Format: int64
             * @description How many rows there are
             */
            total?: number;
            /** @description There are more than total: rows are counted up to 10000 */
            total_more?: boolean;
        };
        PartStorage: {
            items: components["schemas"]["Storage"][];
            /**
             * Format: int64
             * @description The last page that there is, or that can be asked for by its number
             */
            last_page?: number;
            /** Format: int64 */
            next_after_id: number | null;
            /** Format: int64 */
            page?: number;
            /** Format: int64 */
            per_page?: number;
            /**
             * Format: int64
             * @description How many rows there are
             */
            total?: number;
            /** @description There are more than total: rows are counted up to 10000 */
            total_more?: boolean;
        };
        Pause: {
            /** Format: date-time */
            created_at: string;
            created_by: string;
            /** Format: date-time */
            ended_at: string | null;
            ended_by: string;
            /** Format: int64 */
            id: number;
            project: string;
            /** Format: int64 */
            project_id: number | null;
            reason: string;
            /** Format: int64 */
            schedule_id: number | null;
            scope: string;
            server: string;
            /** Format: int64 */
            server_id: number | null;
            /** Format: date-time */
            until: string | null;
        };
        PlanBackup: {
            /** Format: date-time */
            completed_at: string | null;
            database: string;
            engine: string;
            facts: components["schemas"]["BackupFacts"];
            /** Format: int64 */
            id: number;
            server: string;
            verified: string;
        };
        PlanTarget: {
            database: string;
            found?: components["schemas"]["Target"];
            in_place: boolean;
            instance: string;
            looked: boolean;
            server: string;
        };
        PreDeploy: {
            /** Format: date-time */
            created_at: string;
            databases: components["schemas"]["PreDeployDatabase"][] | null;
            /** Format: date-time */
            deadline_at: string;
            /** Format: int64 */
            id: number;
            project: string;
            /** Format: int64 */
            project_id: number;
            status: string;
        };
        PreDeployDatabase: {
            /** Format: int64 */
            backup_id: number | null;
            /** Format: int64 */
            database_id: number;
            database_name: string;
            error_code: string | null;
            error_hint: string | null;
            error_message: string | null;
            /** Format: int64 */
            file_size: number | null;
            instance: string;
            server: string;
            status: string;
            waiting: string;
        };
        PreviewSchedule: {
            /**
             * Format: int64
             * @description After a downtime the newest missed occurrence is run if it is not older; 0: never. Absent: whatever its age
             */
            catch_up_seconds?: number | null;
            /**
             * @description zstd if absent
             * @enum {string}
             */
            compression?: "zstd" | "gzip" | "none";
            /**
             * @description Of cron: minute, hour, day of month, month, day of week
             * @example 15 3 * * 1-5
             */
            cron?: string;
            /**
             * Format: int64
             * @description Of scope database: its id, or its exact name below
             */
            database_id?: number;
            database_name?: string;
            /**
             * @description Only databases of this engine
             * @enum {string}
             */
            database_type?: "postgresql" | "mysql" | "sqlite";
            /**
             * Format: int64
             * @description Of monthly; the last day of a month that is shorter
             */
            day_of_month?: number | null;
            /**
             * Format: int64
             * @description Of weekly: 0 is Sunday
             */
            day_of_week?: number | null;
            /** @description Instead of encryption. true: the project's default, or aes-256-cbc if that is none; false: none */
            encrypt?: boolean | null;
            /**
             * @description The project's default if absent
             * @enum {string}
             */
            encryption?: "age" | "aes-256-cbc" | "none";
            /** @enum {string} */
            frequency: "hourly" | "daily" | "weekly" | "monthly" | "cron";
            instance?: string;
            /** @description true if absent */
            is_active?: boolean | null;
            /**
             * Format: int64
             * @description 1–19 for zstd, 3 if absent; 1–9 for gzip, 6 if absent
             */
            level?: number;
            /**
             * Format: int64
             * @description 3600 if absent
             */
            max_duration_seconds?: number;
            /** @description true if absent */
            notify_on_failure?: boolean | null;
            /**
             * @description Of scope pattern: * is any text, ? any one character
             * @example shop_*
             */
            pattern?: string;
            /** @description A dead-man switch: it is asked for with /start when a backup begins, as it is when one is completed, and with /fail when one failed. It is a secret; ping_hint shows its host */
            ping_url?: string;
            /** @description Slug, id or external id */
            project?: string;
            /**
             * Format: int64
             * @description Of days; 7 if absent
             */
            retention_daily?: number | null;
            /**
             * Format: int64
             * @description Keep all that are younger; 0: off. Absent: 30, or 0 if it occurs several times a day
             */
            retention_days?: number | null;
            /**
             * Format: int64
             * @description Keep the newest of each of the last so many hours that have one. Absent: 0, or 24 if it occurs several times a day
             */
            retention_hourly?: number | null;
            /**
             * Format: int64
             * @description Of months; 3 if absent
             */
            retention_monthly?: number | null;
            /**
             * Format: int64
             * @description Of weeks; 4 if absent
             */
            retention_weekly?: number | null;
            /**
             * @description database: one; project: all, those found later too; pattern: by name; default: those that no other active schedule covers. Absent: by what else is given
             * @enum {string}
             */
            scope?: "database" | "project" | "pattern" | "default";
            /** @description Name or id, where the database's name alone is ambiguous */
            server?: string;
            /**
             * Format: int64
             * @description Its backups begin up to so much later, always by the same time; 0: at the time itself. Absent: 900 if it occurs once a day or more rarely, else 0
             */
            spread_seconds?: number | null;
            /** @description Name or id; the project's, else the installation's default if absent */
            storage?: string;
            /**
             * @description The default storage of that kind; local is the database's own host
             * @enum {string}
             */
            storage_disk?: "s3" | "local";
            /**
             * @description HH:MM or HH:MM:SS on the zone's clock; of hourly only the minute and second are used
             * @example 02:00
             */
            time?: string;
            /**
             * @description IANA name; UTC if absent
             * @example Europe/Berlin
             */
            timezone?: string;
            /**
             * @description Verify each backup once it is completed; none if absent
             * @enum {string}
             */
            verify_after?: "none" | "checksum" | "content";
        };
        Problem: {
            /**
             * @description Stable, for programs
             * @example not_found
             */
            code: string;
            /** @description A sentence for people */
            detail: string;
            /** @description Every field that is wrong, where there are several */
            errors?: components["schemas"]["FieldError"][] | null;
            /** @description The field that is wrong */
            field?: string;
            /** @description What to do about it */
            hint?: string;
            /** @description Of backup_failed: what became of each database */
            pre_deploy?: components["schemas"]["PreDeploy"];
            /** @description The report of a storage that did not pass its probe */
            probe?: unknown;
            /** @description What stops a restore, and what to know before it; those that stop it come first */
            problems?: components["schemas"]["RestoreProblem"][] | null;
            /** @description Names the request in the controller's log */
            request_id: string;
            /**
             * Format: int64
             * @example 404
             */
            status: number;
            /** @example Not Found */
            title: string;
            /** @example about:blank */
            type: string;
        };
        Progress: {
            /** Format: int64 */
            raw_bytes: number;
            stage: string;
            /** Format: int64 */
            stored_bytes: number;
            /** Format: int64 */
            total_bytes: number;
        };
        Project: {
            age_recipient: string;
            /** Format: date-time */
            created_at: string;
            default_encryption: string;
            /** Format: int64 */
            default_storage_id: number | null;
            escrow_recipients: string[] | null;
            external_id: string | null;
            /** Format: int64 */
            id: number;
            /** Format: int64 */
            max_bytes_per_day: number | null;
            /** Format: int64 */
            max_jobs_per_hour: number | null;
            name: string;
            slug: string;
        };
        ProjectKey: {
            /** @description The secret that the keys of aes-256-cbc artifacts are derived from */
            app_key: string;
            /** @description The secret that opens them: AGE-SECRET-KEY-1… */
            identity: string;
            project: string;
            /** @description What age artifacts are encrypted to */
            recipient: string;
        };
        Protection: {
            /** Format: int64 */
            age_seconds: number | null;
            database: string;
            /** Format: int64 */
            database_id: number;
            engine: string;
            /** Format: int64 */
            expected_seconds: number;
            /** Format: date-time */
            ignored_at: string | null;
            ignored_by: string;
            ignored_reason: string;
            last_error: string;
            /** Format: date-time */
            last_good_at: string | null;
            /** Format: int64 */
            last_good_id: number | null;
            last_status: string;
            online: boolean;
            /** Format: date-time */
            overdue_at: string | null;
            project: string;
            /** Format: int64 */
            project_id: number | null;
            reason: string;
            schedules: number[] | null;
            seconds: number[] | null;
            /** Format: double */
            seconds_trend: number | null;
            server: string;
            /** Format: int64 */
            server_id: number;
            /** Format: double */
            size_trend: number | null;
            sizes: number[] | null;
            state: string;
            /** Format: date-time */
            verified_at: string | null;
            verified_level: string;
        };
        ProtectionSummary: {
            alarms: {
                [key: string]: number;
            };
            /** Format: date-time */
            at: string;
            /** Format: int64 */
            databases: number;
            project: string;
            states: {
                [key: string]: number;
            };
            /** Format: int64 */
            unverified: number;
            wrong: components["schemas"]["Wrong"][] | null;
        };
        Reason: {
            reason?: string;
        };
        Restore: {
            /** Format: int64 */
            backup_id: number;
            choices: components["schemas"]["ChosenRestoreChoices"];
            /** Format: date-time */
            completed_at: string | null;
            /** Format: date-time */
            created_at: string;
            database_name: string;
            display: components["schemas"]["RestoreDisplay"];
            engine: string;
            error_code: string | null;
            error_hint: string | null;
            error_message: string | null;
            /** Format: int64 */
            id: number;
            in_place: boolean;
            instance: string;
            /** Format: int64 */
            job_id: number;
            job_status: string;
            /** Format: int64 */
            keep_seconds: number;
            kept_error: string;
            kept_name: string;
            kept_state: string;
            /** Format: date-time */
            kept_until: string | null;
            kind: string;
            progress?: components["schemas"]["Progress"];
            project: string;
            /** Format: int64 */
            project_id: number;
            result: unknown;
            /** Format: int64 */
            safety_backup_id: number | null;
            safety_status: string | null;
            server: string;
            /** Format: int64 */
            server_id: number;
            sessions: string;
            /** Format: date-time */
            started_at: string | null;
            status: string;
            target_state: string;
            /** Format: int64 */
            undo_of: number | null;
            /** Format: int64 */
            undone_by: number | null;
            /** Format: int64 */
            wait_seconds: number;
            waiting: string;
        };
        RestoreChoices: {
            /**
             * @description MySQL: of views, routines, triggers and events; as the host is configured if absent
             * @enum {string}
             */
            definers?: "strip" | "keep";
            /**
             * Format: int64
             * @description PostgreSQL: how many indexes and constraints are built at once; one if absent
             */
            jobs?: number;
            /** @description Only these: PostgreSQL schemas or tables, one MySQL table */
            only?: components["schemas"]["Selection"][] | null;
            /** @description PostgreSQL: objects belong to the roles that they belonged to */
            owners?: boolean;
            /** @description PostgreSQL: grants are restored */
            privileges?: boolean;
            /** @description PostgreSQL: missing roles are made, without login and without rights over the server */
            roles?: boolean;
        };
        RestoreDisplay: {
            duration: string;
            engine: string;
            kind: string;
            message: string;
            status: components["schemas"]["Badge"];
            target: string;
        };
        RestorePlan: {
            backup: components["schemas"]["PlanBackup"];
            can_start: boolean;
            kind: string;
            possible: string[] | null;
            problems: components["schemas"]["RestoreProblem"][] | null;
            steps: string[] | null;
            target: components["schemas"]["PlanTarget"];
        };
        RestoreProblem: {
            code: string;
            hint?: string;
            stops: boolean;
            text: string;
        };
        Retention: {
            /** Format: int64 */
            retention_daily: number;
            /** Format: int64 */
            retention_days: number;
            /** Format: int64 */
            retention_hourly: number;
            /** Format: int64 */
            retention_monthly: number;
            /** Format: int64 */
            retention_weekly: number;
        };
        RotateToken: {
            /**
             * Format: int64
             * @description How long the secret before it works; a day if absent, 0 ends it at once
             */
            grace_seconds?: number;
        };
        Schedule: {
            /** Format: int64 */
            catch_up_seconds: number | null;
            compression: string;
            /** Format: date-time */
            created_at: string;
            cron: string;
            /** Format: int64 */
            database_id: number | null;
            database_name: string;
            database_type: string;
            /** Format: int64 */
            day_of_month: number | null;
            /** Format: int64 */
            day_of_week: number | null;
            /** @description For people */
            display: components["schemas"]["ScheduleDisplay"];
            encrypt: boolean | null;
            encryption: string;
            frequency: string;
            /** Format: int64 */
            id: number;
            instance: string;
            is_active: boolean;
            /** @description Its retention, for people */
            keeps: string;
            /**
             * @description When it occurs, for people
             * @example Daily at 02:00
             */
            label: string;
            /** Format: date-time */
            last_run_at: string | null;
            /** Format: int64 */
            level: number;
            /** Format: int64 */
            max_duration_seconds: number;
            /** @description The next occurrences, and when each is due by the schedule's spread; of one that is not active what they would be. None where its zone is not known */
            next_five: components["schemas"]["Occurrence"][];
            /** Format: date-time */
            next_occurrence: string | null;
            /** Format: date-time */
            next_run_at: string | null;
            notify_on_failure: boolean;
            pattern: string;
            paused_reason: string;
            /** Format: date-time */
            paused_until: string | null;
            ping_hint: string;
            problem: string;
            project: string;
            /** Format: int64 */
            project_id: number;
            /** Format: int64 */
            retention_daily: number;
            /** Format: int64 */
            retention_days: number;
            /** Format: int64 */
            retention_hourly: number;
            /** Format: int64 */
            retention_monthly: number;
            /** Format: int64 */
            retention_weekly: number;
            scope: string;
            server: string;
            /** Format: int64 */
            server_id: number | null;
            /** Format: date-time */
            shorter_at: string | null;
            /** Format: int64 */
            spread_seconds: number | null;
            storage: string;
            storage_disk: string;
            /** Format: int64 */
            storage_id: number | null;
            time: string;
            timezone: string;
            /** Format: date-time */
            updated_at: string;
            verify_after: string;
        };
        ScheduleDisplay: {
            database: string;
            engine: string;
            frequency: string;
            retention: string;
            status: components["schemas"]["Badge"];
            storage: string;
        };
        ScheduleOccurrence: {
            /** Format: date-time */
            at: string;
            code: string;
            databases: components["schemas"]["OccurrenceDatabase"][] | null;
            late: boolean;
            reason: string;
            /** Format: date-time */
            recorded_at: string;
            /** Format: int64 */
            schedule_id: number;
            state: string;
        };
        ScheduleOptions: {
            /**
             * Format: int64
             * @description After a downtime the newest missed occurrence is run if it is not older; 0: never. Absent: whatever its age
             */
            catch_up_seconds?: number | null;
            /**
             * @description zstd if absent
             * @enum {string}
             */
            compression?: "zstd" | "gzip" | "none";
            /**
             * @description Of cron: minute, hour, day of month, month, day of week
             * @example 15 3 * * 1-5
             */
            cron?: string;
            /**
             * Format: int64
             * @description Of monthly; the last day of a month that is shorter
             */
            day_of_month?: number | null;
            /**
             * Format: int64
             * @description Of weekly: 0 is Sunday
             */
            day_of_week?: number | null;
            /** @description Instead of encryption. true: the project's default, or aes-256-cbc if that is none; false: none */
            encrypt?: boolean | null;
            /**
             * @description The project's default if absent
             * @enum {string}
             */
            encryption?: "age" | "aes-256-cbc" | "none";
            /** @enum {string} */
            frequency: "hourly" | "daily" | "weekly" | "monthly" | "cron";
            /** @description true if absent */
            is_active?: boolean | null;
            /**
             * Format: int64
             * @description 1–19 for zstd, 3 if absent; 1–9 for gzip, 6 if absent
             */
            level?: number;
            /**
             * Format: int64
             * @description 3600 if absent
             */
            max_duration_seconds?: number;
            /** @description true if absent */
            notify_on_failure?: boolean | null;
            /** @description A dead-man switch: it is asked for with /start when a backup begins, as it is when one is completed, and with /fail when one failed. It is a secret; ping_hint shows its host */
            ping_url?: string;
            /**
             * Format: int64
             * @description Of days; 7 if absent
             */
            retention_daily?: number | null;
            /**
             * Format: int64
             * @description Keep all that are younger; 0: off. Absent: 30, or 0 if it occurs several times a day
             */
            retention_days?: number | null;
            /**
             * Format: int64
             * @description Keep the newest of each of the last so many hours that have one. Absent: 0, or 24 if it occurs several times a day
             */
            retention_hourly?: number | null;
            /**
             * Format: int64
             * @description Of months; 3 if absent
             */
            retention_monthly?: number | null;
            /**
             * Format: int64
             * @description Of weeks; 4 if absent
             */
            retention_weekly?: number | null;
            /**
             * Format: int64
             * @description Its backups begin up to so much later, always by the same time; 0: at the time itself. Absent: 900 if it occurs once a day or more rarely, else 0
             */
            spread_seconds?: number | null;
            /** @description Name or id; the project's, else the installation's default if absent */
            storage?: string;
            /**
             * @description The default storage of that kind; local is the database's own host
             * @enum {string}
             */
            storage_disk?: "s3" | "local";
            /**
             * @description HH:MM or HH:MM:SS on the zone's clock; of hourly only the minute and second are used
             * @example 02:00
             */
            time?: string;
            /**
             * @description IANA name; UTC if absent
             * @example Europe/Berlin
             */
            timezone?: string;
            /**
             * @description Verify each backup once it is completed; none if absent
             * @enum {string}
             */
            verify_after?: "none" | "checksum" | "content";
        };
        SchedulePage: {
            items: components["schemas"]["Schedule"][];
            /**
             * Format: int64
             * @description The last page that there is, or that can be asked for by its number
             */
            last_page?: number;
            /** Format: int64 */
            next_after_id: number | null;
            /** Format: int64 */
            page?: number;
            /** Format: int64 */
            per_page?: number;
            /**
             * Format: int64
             * @description How many rows there are
             */
            total?: number;
            /** @description There are more than total: rows are counted up to 10000 */
            total_more?: boolean;
        };
        SchedulePreview: {
            /** @description The retention, for people */
            keeps: string;
            /** @example Daily at 02:00 */
            label: string;
            next_five: string[];
            retention: components["schemas"]["Retention"];
            /**
             * Format: int64
             * @description Up to so much later each begins, by a time that is fixed once the schedule is made
             */
            spread_seconds: number;
            timezone: string;
        };
        SecurityEvent: {
            /** Format: date-time */
            at: string;
            /** Format: int64 */
            count: number;
            detail: string;
            /** Format: int64 */
            id: number;
            kind: string;
            /** Format: int64 */
            server_id: number | null;
        };
        Selection: {
            schema?: string;
            /** @description The whole schema if absent */
            table?: string;
        };
        Server: {
            agent_id: string;
            agent_version: string;
            /** Format: int64 */
            concurrency: number;
            /** Format: date-time */
            enrolled_at: string;
            host: components["schemas"]["Host"];
            /** Format: int64 */
            id: number;
            instances: components["schemas"]["Instance"][] | null;
            /** Format: date-time */
            last_seen_at: string | null;
            name: string;
            nkey: string;
            online: boolean;
            outdated: boolean;
            projects: number[] | null;
            recipient: string;
            /** Format: date-time */
            revoked_at: string | null;
            signing_key: string;
            verifier: boolean;
        };
        Session: {
            application?: string;
            client?: string;
            /** Format: int64 */
            since?: number;
            state?: string;
            user?: string;
        };
        SetPassword: {
            password: string;
        };
        Settings: {
            cleanup_time: string;
            summary_day: string;
            summary_time: string;
            timezone: string;
        };
        SetVerifier: {
            verifier: boolean;
        };
        SignedIn: {
            /** @description The panel's user that the request is for */
            acting_user: string;
            admin: boolean;
            /** @description Every permission that there is */
            all_permissions: string[];
            all_projects: boolean;
            /** @description To be sent as DevFlow-CSRF with every write; empty for a token */
            csrf_token: string;
            display_name: string;
            /**
             * Format: date-time
             * @description The session lasts so long at most
             */
            expires_at: string | null;
            /** @description It can be changed here */
            has_password: boolean;
            /**
             * Format: int64
             * @description And ends when it is not used for so long; 0 for a token
             */
            idle_seconds: number;
            /**
             * @description A token, a token of a panel, or a person who signed in
             * @enum {string}
             */
            kind: "api" | "panel" | "user";
            /** @description The token's name, or the user's */
            name: string;
            permissions: string[];
            projects: number[];
            /**
             * Format: int64
             * @description 0 for a token
             */
            session_id: number;
            /**
             * Format: int64
             * @description 0 for a person
             */
            token_id: number;
            /**
             * Format: int64
             * @description 0 for a token
             */
            user_id: number;
        };
        SignIn: {
            name: string;
            password: string;
        };
        SignInMethods: {
            /** @description Absent where there is no provider */
            oidc?: components["schemas"]["OIDCSign"];
            password: boolean;
        };
        SignInSession: {
            agent: string;
            /** Format: date-time */
            created_at: string;
            current: boolean;
            /** Format: date-time */
            expires_at: string;
            /** Format: int64 */
            id: number;
            /** @enum {string} */
            method: "password" | "oidc";
            remote: string;
            /** Format: date-time */
            seen_at: string;
        };
        Statistics: {
            /** Format: int64 */
            active_schedules: number;
            /** Format: int64 */
            completed: number;
            /** Format: int64 */
            databases: number;
            display: components["schemas"]["StatisticsDisplayStruct"];
            /** Format: int64 */
            failed: number;
            last_backup: components["schemas"]["LastBackup"] | null;
            /** Format: date-time */
            next_run_at: string | null;
            project: string;
            /** Format: int64 */
            running: number;
            /** Format: int64 */
            schedules: number;
            /** Format: int64 */
            storage_used: number;
            /** Format: int64 */
            total_backups: number;
            /** Format: int64 */
            verified: number;
        };
        StatisticsDisplayStruct: {
            storage_used: string;
        };
        Storage: {
            /** Format: int64 */
            backups: number;
            bucket: string;
            checksum_mode: string;
            /** Format: date-time */
            created_at: string;
            display: components["schemas"]["StorageDisplay"];
            endpoint: string;
            /** Format: int64 */
            id: number;
            is_default: boolean;
            kind: string;
            name: string;
            path_style: boolean;
            prefix: string;
            probe: unknown;
            probe_ok: boolean;
            /** Format: date-time */
            probed_at: string | null;
            /** Format: int64 */
            project_id: number | null;
            region: string;
            same_host: boolean;
            /** Format: date-time */
            updated_at: string;
            /** Format: int64 */
            used_bytes: number;
        };
        StorageDisplay: {
            kind: string;
            place: string;
            status: components["schemas"]["Badge"];
            used: string;
        };
        StorageFinding: {
            /** Format: date-time */
            first_seen_at: string;
            key: string;
            kind: string;
            /** Format: date-time */
            modified_at: string | null;
            /** Format: date-time */
            seen_at: string;
            server: string;
            /** Format: int64 */
            size: number;
            /** Format: int64 */
            storage_id: number;
            upload_id: string;
        };
        StorageInventory: {
            /** Format: int64 */
            archived: number;
            /** Format: int64 */
            bytes: number;
            /** Format: int64 */
            damaged: number;
            /** Format: date-time */
            due_at: string;
            /** Format: date-time */
            ended_at: string | null;
            error: string;
            /** Format: int64 */
            foreign_objects: number;
            /** Format: int64 */
            missing: number;
            /** Format: int64 */
            objects: number;
            /** Format: int64 */
            recovered: number;
            /** Format: int64 */
            requests: number;
            server: string;
            /** Format: int64 */
            server_id: number;
            /** Format: int64 */
            stale_uploads: number;
            /** Format: date-time */
            started_at: string | null;
            /** Format: int64 */
            storage_id: number;
        };
        Swap: {
            /** @description The target's name, as a person typed it; a plan does without */
            confirm?: string;
            /** @description What a plan found at the target; refused where it is another one by now */
            identity?: string;
            /**
             * Format: int64
             * @description How long what is replaced is kept; 259200, three days, if absent
             */
            keep_seconds?: number;
            /**
             * @description What is done about other sessions at the target; refuse if absent
             * @enum {string}
             */
            sessions?: "refuse" | "wait" | "end";
            /**
             * Format: int64
             * @description With sessions wait: how long
             */
            wait_seconds?: number;
        };
        Target: {
            exists: boolean;
            /** Format: int64 */
            free_bytes: number;
            identity?: string;
            owner?: string;
            problems?: components["schemas"]["RestoreProblem"][] | null;
            server_identity?: string;
            server_version?: string;
            /** Format: int64 */
            session_count?: number;
            sessions?: components["schemas"]["Session"][] | null;
            /** Format: int64 */
            size_bytes: number;
            /** Format: int64 */
            tables: number;
        };
        Trend: {
            days: components["schemas"]["TrendDay"][] | null;
            timezone: string;
        };
        TrendDay: {
            /** Format: int64 */
            bytes: number;
            /** Format: int64 */
            completed: number;
            date: string;
            /** Format: int64 */
            failed: number;
            /** Format: double */
            max_seconds: number;
            /** Format: double */
            mean_seconds: number;
            /** Format: int64 */
            raw_bytes: number;
        };
        UpdateChannel: {
            default?: boolean;
            /** @description Name or id; empty: none */
            fallback?: string;
            /** @description One that is not takes nothing */
            is_active?: boolean;
            /** @description Replaces the list; an empty list is all but those that are off unless named */
            kinds?: string[] | null;
            /** @enum {string} */
            min_severity?: "info" | "warning" | "critical";
            name?: string;
            /**
             * Format: int64
             * @description 0: never
             */
            remind_hours?: number;
            /** @description The whole target, with its secrets: none that is kept is ever sent to another place */
            target?: components["schemas"]["ChannelTarget"];
        };
        UpdateProject: {
            /** @enum {string} */
            default_encryption?: "age" | "aes-256-cbc" | "none";
            /** @description Name or id; empty clears it */
            default_storage?: string;
            /** @description Replaces the list; an empty list clears it */
            escrow_recipients?: string[] | null;
            external_id?: string;
            /**
             * Format: int64
             * @description How much is stored within 24 hours before no more is ordered; null: no limit. For callers of the whole installation
             */
            max_bytes_per_day?: number | null;
            /**
             * Format: int64
             * @description How many backups are ordered within any hour; null: no limit. For callers of the whole installation
             */
            max_jobs_per_hour?: number | null;
            name?: string;
            slug?: string;
        };
        UpdateSchedule: {
            /**
             * Format: int64
             * @description 0: never; null: whatever its age
             */
            catch_up_seconds?: number | null;
            /** @enum {string} */
            compression?: "zstd" | "gzip" | "none";
            cron?: string;
            /**
             * Format: int64
             * @description Of monthly; the last day of a month that is shorter
             */
            day_of_month?: number;
            /**
             * Format: int64
             * @description Of weekly: 0 is Sunday
             */
            day_of_week?: number;
            /** @description Instead of encryption; null: as encryption says */
            encrypt?: boolean | null;
            /**
             * @description Empty: the project's default
             * @enum {string}
             */
            encryption?: "age" | "aes-256-cbc" | "none" | "";
            /** @enum {string} */
            frequency?: "hourly" | "daily" | "weekly" | "monthly" | "cron";
            is_active?: boolean;
            /**
             * Format: int64
             * @description 0: the default
             */
            level?: number;
            /** Format: int64 */
            max_duration_seconds?: number;
            notify_on_failure?: boolean;
            /** @description A dead-man switch; empty: none */
            ping_url?: string;
            /** Format: int64 */
            retention_daily?: number;
            /**
             * Format: int64
             * @description 0: off. A retention that is made shorter takes effect after 72 hours
             */
            retention_days?: number;
            /** Format: int64 */
            retention_hourly?: number;
            /** Format: int64 */
            retention_monthly?: number;
            /** Format: int64 */
            retention_weekly?: number;
            /**
             * Format: int64
             * @description 0: off; null: the default
             */
            spread_seconds?: number | null;
            /** @description Name or id; empty: the project's, else the installation's default */
            storage?: string;
            /**
             * @description The default storage of that kind; empty: of any
             * @enum {string}
             */
            storage_disk?: "s3" | "local" | "";
            /** @description HH:MM or HH:MM:SS on the zone's clock */
            time?: string;
            /** @description IANA name */
            timezone?: string;
            /** @enum {string} */
            verify_after?: "none" | "checksum" | "content";
        };
        UpdateSettings: {
            /**
             * @description HH:MM
             * @example 00:00
             */
            cleanup_time?: string;
            /**
             * @description On which the weekly summary is sent: 0 (Sunday) to 6, a day's name, or off
             * @example 1
             */
            summary_day?: string;
            /**
             * @description HH:MM, in the same zone
             * @example 08:00
             */
            summary_time?: string;
            /** @description IANA name of the zone in which the daily clean-up has its time */
            timezone?: string;
        };
        UpdateStorage: {
            /** @description With secret_key */
            access_key?: string;
            /** @description URL of the store; empty is AWS by region */
            endpoint?: string;
            /** @description Keep the change although the probe failed; the storage is not used before a probe passes */
            force?: boolean;
            name?: string;
            path_style?: boolean;
            region?: string;
            secret_key?: string;
        };
        UpdateUser: {
            /** @description Every permission, in the user's projects */
            admin?: boolean;
            all_projects?: boolean;
            /** @description A disabled user is signed out and cannot sign in */
            disabled?: boolean;
            display_name?: string;
            permissions?: string[] | null;
            /** @description Slugs, ids or external ids */
            projects?: string[] | null;
        };
        User: {
            admin: boolean;
            /** Format: date-time */
            created_at: string;
            /** Format: date-time */
            disabled_at: string | null;
            display_name: string;
            has_password: boolean;
            /** Format: int64 */
            id: number;
            issuer: string;
            /** Format: date-time */
            last_sign_in_at: string | null;
            name: string;
            /** Format: date-time */
            password_changed_at: string | null;
            permissions: string[] | null;
            projects: number[] | null;
            /** Format: int64 */
            sessions: number;
        };
        Users: {
            items: components["schemas"]["User"][];
            /**
             * Format: int64
             * @description The last page that there is, or that can be asked for by its number
             */
            last_page?: number;
            next_after: string | null;
            /** Format: int64 */
            page?: number;
            /** Format: int64 */
            per_page?: number;
            /**
             * Format: int64
             * @description How many rows there are
             */
            total?: number;
            /** @description There are more than total: rows are counted up to 10000 */
            total_more?: boolean;
        };
        Version: {
            /** @description The version of the API's path */
            api: string;
            /** @description SHA-256 of the certificate authority of this installation */
            ca_fingerprint: string;
            /**
             * Format: int64
             * @description The protocol that agents speak
             */
            protocol: number;
            /** @description Public keys that sign manifests and commands */
            signing_keys: components["schemas"]["Key"][];
            version: string;
        };
        Whoami: {
            /** @description The panel's user that the request is for */
            acting_user: string;
            all_projects: boolean;
            /**
             * @description A token, a token of a panel, or a person who signed in
             * @enum {string}
             */
            kind: "api" | "panel" | "user";
            /** @description The token's name, or the user's */
            name: string;
            permissions: string[];
            projects: number[];
            /**
             * Format: int64
             * @description 0 for a person
             */
            token_id: number;
            /**
             * Format: int64
             * @description 0 for a token
             */
            user_id: number;
        };
        Wrong: {
            /** Format: int64 */
            count: number;
            kind: string;
            names: string[] | null;
            severity: string;
            text: string;
        };
    };
    responses: {
        /** @description Bad Request: `malformed` */
        BadRequest: {
            headers: {
                /** @description The id of the request, also in the log */
                "X-Request-ID"?: string;
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "type": "about:blank",
                 *       "title": "Bad Request",
                 *       "status": 400,
                 *       "code": "malformed",
                 *       "detail": "the body is not JSON: unexpected end of JSON input",
                 *       "request_id": "k5x7q2m4c9d3f8h1"
                 *     }
                 */
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Conflict: `backup_failed`, `conflict`, `nothing_to_back_up`, `secret_already_shown` */
        Conflict: {
            headers: {
                /** @description The id of the request, also in the log */
                "X-Request-ID"?: string;
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "type": "about:blank",
                 *       "title": "Conflict",
                 *       "status": 409,
                 *       "code": "conflict",
                 *       "detail": "a project with the slug \"shop\" exists already",
                 *       "hint": "choose another slug",
                 *       "request_id": "k5x7q2m4c9d3f8h1"
                 *     }
                 */
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Forbidden: `csrf`, `forbidden` */
        Forbidden: {
            headers: {
                /** @description The id of the request, also in the log */
                "X-Request-ID"?: string;
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "type": "about:blank",
                 *       "title": "Forbidden",
                 *       "status": 403,
                 *       "code": "forbidden",
                 *       "detail": "the token lacks the permission \"restore-backups\"",
                 *       "hint": "make a token that has it",
                 *       "request_id": "k5x7q2m4c9d3f8h1"
                 *     }
                 */
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Internal Server Error: `internal` */
        InternalServerError: {
            headers: {
                /** @description The id of the request, also in the log */
                "X-Request-ID"?: string;
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "type": "about:blank",
                 *       "title": "Internal Server Error",
                 *       "status": 500,
                 *       "code": "internal",
                 *       "detail": "something went wrong inside the controller",
                 *       "hint": "its log has the reason under this request's id",
                 *       "request_id": "k5x7q2m4c9d3f8h1"
                 *     }
                 */
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Not Found: `not_found` */
        NotFound: {
            headers: {
                /** @description The id of the request, also in the log */
                "X-Request-ID"?: string;
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "type": "about:blank",
                 *       "title": "Not Found",
                 *       "status": 404,
                 *       "code": "not_found",
                 *       "detail": "project \"shop\" does not exist",
                 *       "hint": "`devflowctl project list` shows the projects",
                 *       "request_id": "k5x7q2m4c9d3f8h1"
                 *     }
                 */
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Precondition Failed: `changed_meanwhile` */
        PreconditionFailed: {
            headers: {
                /** @description The id of the request, also in the log */
                "X-Request-ID"?: string;
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "type": "about:blank",
                 *       "title": "Precondition Failed",
                 *       "status": 412,
                 *       "code": "changed_meanwhile",
                 *       "detail": "it was changed meanwhile: its version is \"0d5a31b64c1f2a77c6d1\", not \"77c61e0a4f5b92d3810c\"",
                 *       "hint": "read it again, and make the change to what it is now",
                 *       "request_id": "k5x7q2m4c9d3f8h1"
                 *     }
                 */
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Requested Range Not Satisfiable: `range_not_satisfiable` */
        RequestedRangeNotSatisfiable: {
            headers: {
                /** @description The id of the request, also in the log */
                "X-Request-ID"?: string;
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "type": "about:blank",
                 *       "title": "Requested Range Not Satisfiable",
                 *       "status": 416,
                 *       "code": "range_not_satisfiable",
                 *       "detail": "there are 1048576 bytes, and none from 2000000 on",
                 *       "request_id": "k5x7q2m4c9d3f8h1"
                 *     }
                 */
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Request Entity Too Large: `too_large` */
        RequestEntityTooLarge: {
            headers: {
                /** @description The id of the request, also in the log */
                "X-Request-ID"?: string;
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "type": "about:blank",
                 *       "title": "Request Entity Too Large",
                 *       "status": 413,
                 *       "code": "too_large",
                 *       "detail": "the body is larger than 1048576 bytes",
                 *       "request_id": "k5x7q2m4c9d3f8h1"
                 *     }
                 */
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Service Unavailable: `unavailable` */
        ServiceUnavailable: {
            headers: {
                /** @description Seconds after which to try again */
                "Retry-After"?: number;
                /** @description The id of the request, also in the log */
                "X-Request-ID"?: string;
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "type": "about:blank",
                 *       "title": "Service Unavailable",
                 *       "status": 503,
                 *       "code": "unavailable",
                 *       "detail": "the request took too long",
                 *       "hint": "try again",
                 *       "request_id": "k5x7q2m4c9d3f8h1"
                 *     }
                 */
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Too Many Requests: `quota_exceeded`, `rate_limited`, `too_many_requests` */
        TooManyRequests: {
            headers: {
                /** @description Seconds after which to try again */
                "Retry-After"?: number;
                /** @description The id of the request, also in the log */
                "X-Request-ID"?: string;
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "type": "about:blank",
                 *       "title": "Too Many Requests",
                 *       "status": 429,
                 *       "code": "rate_limited",
                 *       "detail": "more than 20 requests a second, 100 at once",
                 *       "hint": "try again in 2 s",
                 *       "request_id": "k5x7q2m4c9d3f8h1"
                 *     }
                 */
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Unauthorized: `unauthorized` */
        Unauthorized: {
            headers: {
                /** @description The id of the request, also in the log */
                "X-Request-ID"?: string;
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "type": "about:blank",
                 *       "title": "Unauthorized",
                 *       "status": 401,
                 *       "code": "unauthorized",
                 *       "detail": "the request has no API token and no session",
                 *       "hint": "send `Authorization: Bearer dfk_…`, or sign in",
                 *       "request_id": "k5x7q2m4c9d3f8h1"
                 *     }
                 */
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Unprocessable Entity: `channel_failed`, `invalid`, `probe_failed` */
        UnprocessableEntity: {
            headers: {
                /** @description The id of the request, also in the log */
                "X-Request-ID"?: string;
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "type": "about:blank",
                 *       "title": "Unprocessable Entity",
                 *       "status": 422,
                 *       "code": "invalid",
                 *       "detail": "expected number <= 365, not 400",
                 *       "field": "retention_days",
                 *       "request_id": "k5x7q2m4c9d3f8h1"
                 *     }
                 */
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Unsupported Media Type: `unsupported_media` */
        UnsupportedMediaType: {
            headers: {
                /** @description The id of the request, also in the log */
                "X-Request-ID"?: string;
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "type": "about:blank",
                 *       "title": "Unsupported Media Type",
                 *       "status": 415,
                 *       "code": "unsupported_media",
                 *       "detail": "unknown content type: text/plain",
                 *       "hint": "send application/json",
                 *       "request_id": "k5x7q2m4c9d3f8h1"
                 *     }
                 */
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
    };
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    "list-alarms": {
        parameters: {
            query?: {
                /** @description Those that follow the row with this id; the first if absent */
                after_id?: number;
                /** @description A kind of notices, such as backup_failing */
                kind?: string;
                /** @description Rows of an answer */
                limit?: number;
                /** @description A page by its number, from 1, with the total; instead of a cursor */
                page?: number;
                /** @description Rows of a numbered page */
                per_page?: number;
                /** @description Slug, id or external id */
                project?: string;
                /** @description At least */
                severity?: "info" | "warning" | "critical";
                state?: "open" | "closed" | "all";
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PartAlarm"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-alarm": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Alarm"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-alarm-summary": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AlarmCounts"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-audit": {
        parameters: {
            query?: {
                /** @description Such as backup.create, or all that begin so: backup. */
                action?: string;
                /** @description A token's name, a part of the controller, or the user on whose behalf */
                actor?: string;
                /** @description Those that come before the row with this id; the newest if absent */
                before_id?: number;
                /** @description Rows of an answer */
                limit?: number;
                /** @description Slug, id or external id; all that the token sees if absent */
                project?: string;
                /** @description Entries from then on */
                since?: string;
                /** @description Entries before */
                until?: string;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PageAuditEntry"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "check-audit": {
        parameters: {
            query?: {
                /** @description SEQ:HASH of a head that was kept; may be given several times */
                head?: string[] | null;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AuditCheck"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "export-audit": {
        parameters: {
            query?: {
                /** @description Such as backup.create, or all that begin so: backup. */
                action?: string;
                /** @description A token's name, a part of the controller, or the user on whose behalf */
                actor?: string;
                /** @description Slug, id or external id; all that the token sees if absent */
                project?: string;
                /** @description Entries from then on */
                since?: string;
                /** @description Entries before */
                until?: string;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/jsonl": string;
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "audit-head": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AuditHead"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-backups": {
        parameters: {
            query?: {
                /** @description Those that come before the row with this id; the newest if absent */
                before_id?: number;
                /** @description Exact name or id */
                database?: string;
                /** @description Deleted ones too */
                deleted?: boolean;
                engine?: "postgresql" | "mysql" | "sqlite";
                health?: "ok" | "missing" | "corrupt" | "archived" | "deleting";
                /** @description Only held ones, or only those that are not */
                held?: "true" | "false";
                /** @description Rows of an answer */
                limit?: number;
                /** @description desc if absent */
                order?: "asc" | "desc";
                /** @description A page by its number, from 1, with the total; instead of a cursor */
                page?: number;
                /** @description Rows of a numbered page */
                per_page?: number;
                /** @description Slug, id or external id */
                project?: string;
                /** @description Only those of a schedule */
                schedule_id?: number;
                /** @description Name or id */
                server?: string;
                /** @description Those made from then on */
                since?: string;
                /** @description Of numbered pages; created if absent. By size and duration within a project or a database */
                sort?: "created" | "size" | "duration";
                status?: "pending" | "running" | "completed" | "failed";
                /** @description Name or id */
                storage?: string;
                type?: "manual" | "scheduled" | "pre_deploy" | "pre_restore";
                /** @description Those made before */
                until?: string;
                /** @description Only verified ones, or only those that are not */
                verified?: "true" | "false";
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PageBackup"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "create-backups": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description A random text: the same request with the same key is carried out once, and answered alike */
                "Idempotency-Key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "project": "shop",
                 *       "database": "shop_production",
                 *       "type": "manual"
                 *     }
                 */
                "application/json": components["schemas"]["CreateBackups"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ListBackupOutcome"];
                };
            };
            /** @description Multi-Status */
            207: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ListBackupOutcome"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-backup": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Backup"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "cancel-backup": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "reason": "the host is restarted"
                 *     }
                 */
                "application/json": components["schemas"]["Reason"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "delete-backup": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "reason": "of a test",
                 *       "confirm": "shop_production"
                 *     }
                 */
                "application/json": components["schemas"]["DeleteBackup"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Backup"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "create-download": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "format": "stored"
                 *     }
                 */
                "application/json": components["schemas"]["CreateDownload"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Download"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "hold-backup": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "reason": "asked for by the auditors"
                 *     }
                 */
                "application/json": components["schemas"]["HoldBackup"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Backup"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-backup-log": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-backup-manifest": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "Content-Type"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": Record<string, never>;
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "release-backup": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "reason": "the audit is over"
                 *     }
                 */
                "application/json": components["schemas"]["Reason"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Backup"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "retry-backup": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description A random text: the same request with the same key is carried out once, and answered alike */
                "Idempotency-Key"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Created */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Backup"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "undelete-backup": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Backup"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "verify-backup": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description A random text: the same request with the same key is carried out once, and answered alike */
                "Idempotency-Key"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "level": "checksum"
                 *     }
                 */
                "application/json": components["schemas"]["CreateVerify"];
            };
        };
        responses: {
            /** @description Accepted */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "verify-backups": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description A random text: the same request with the same key is carried out once, and answered alike */
                "Idempotency-Key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "project": "shop"
                 *     }
                 */
                "application/json": components["schemas"]["CreateVerifications"];
            };
        };
        responses: {
            /** @description Accepted */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ListJob"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-ca": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/x-pem-file": string;
                };
            };
            500: components["responses"]["InternalServerError"];
        };
    };
    "list-channel-kinds": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ListChannelKind"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-channels": {
        parameters: {
            query?: {
                /** @description Those that follow the row with this id; the first if absent */
                after_id?: number;
                /** @description A kind of channels, such as email */
                kind?: string;
                /** @description Rows of an answer */
                limit?: number;
                /** @description A page by its number, from 1, with the total; instead of a cursor */
                page?: number;
                /** @description Rows of a numbered page */
                per_page?: number;
                /** @description Slug, id or external id; its own channels and those of the installation */
                project?: string;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PartChannel"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "create-channel": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description A random text: the same request with the same key is carried out once, and answered alike */
                "Idempotency-Key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "on-call",
                 *       "kind": "webhook",
                 *       "target": {
                 *         "url": "https://ops.example.com/devflow",
                 *         "secret": "only an example of a key"
                 *       },
                 *       "default": true
                 *     }
                 */
                "application/json": components["schemas"]["CreateChannel"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Channel"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-channel": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Channel"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "delete-channel": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description The ETag of what is to be changed: it is changed only if it is still that version; 412 changed_meanwhile otherwise */
                "If-Match"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "update-channel": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description The ETag of what is to be changed: it is changed only if it is still that version; 412 changed_meanwhile otherwise */
                "If-Match"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "min_severity": "warning",
                 *       "kinds": [
                 *         "backup_failing",
                 *         "overdue"
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["UpdateChannel"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Channel"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "test-channel": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Channel"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    cleanup: {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "project": "shop",
                 *       "dry_run": true
                 *     }
                 */
                "application/json": components["schemas"]["Cleanup"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CleanupResult"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-databases": {
        parameters: {
            query?: {
                /** @description Those that follow the row with this id; the first if absent */
                after_id?: number;
                engine?: "postgresql" | "mysql" | "sqlite";
                /** @description Rows of an answer */
                limit?: number;
                /** @description Exact name */
                name?: string;
                /** @description A page by its number, from 1, with the total; instead of a cursor */
                page?: number;
                /** @description Rows of a numbered page */
                per_page?: number;
                /** @description Slug, id or external id */
                project?: string;
                /** @description Part of the name, whatever its case */
                search?: string;
                /** @description Name or id */
                server?: string;
                /** @description Only those of no project */
                unassigned?: boolean;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PartDatabase"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "ignore-database": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "reason": "a copy that is made anew each night"
                 *     }
                 */
                "application/json": components["schemas"]["IgnoreDatabase"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Protection"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "unignore-database": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Protection"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "assign-database": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "server": "db-1",
                 *       "name": "shop_production",
                 *       "project": "shop"
                 *     }
                 */
                "application/json": components["schemas"]["AssignDatabase"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Database"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "unassign-database": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "server": "db-1",
                 *       "name": "shop_production"
                 *     }
                 */
                "application/json": components["schemas"]["AssignDatabase"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Database"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    download: {
        parameters: {
            query?: never;
            header?: {
                /** @description The ETag of what is there already: another one is answered with the whole */
                "If-Range"?: string;
                /** @description bytes=N-: from byte N on. Any other form is answered with the whole */
                Range?: string;
            };
            path: {
                /** @description Of the link */
                token: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        [key: string]: unknown;
                    };
                    "application/octet-stream": string;
                };
            };
            /** @description Partial Content */
            206: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        [key: string]: unknown;
                    };
                    "application/octet-stream": string;
                };
            };
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            416: components["responses"]["RequestedRangeNotSatisfiable"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "head-download": {
        parameters: {
            query?: never;
            header?: {
                /** @description The ETag of what is there already: another one is answered with the whole */
                "If-Range"?: string;
                /** @description bytes=N-: from byte N on. Any other form is answered with the whole */
                Range?: string;
            };
            path: {
                /** @description Of the link */
                token: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    enrol: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "token": "dfe_…",
                 *       "nkey": "U…",
                 *       "signing_key": "cHVibGljIGtleQ==",
                 *       "recipient": "age1…",
                 *       "agent_version": "1.0.0",
                 *       "protocol": 1,
                 *       "host": {}
                 *     }
                 */
                "application/json": components["schemas"]["Enrol"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Enrolled"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "enrolment-status": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "token": "dfe_…"
                 *     }
                 */
                "application/json": components["schemas"]["EnrolmentToken"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["EnrolmentStatus"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-enrolments": {
        parameters: {
            query?: {
                /** @description Those that come before the row with this id; the newest if absent */
                before_id?: number;
                /** @description Rows of an answer */
                limit?: number;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PageEnrolment"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "create-enrolment": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description A random text: the same request with the same key is carried out once, and answered alike */
                "Idempotency-Key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "server_name": "db-2",
                 *       "project": "shop"
                 *     }
                 */
                "application/json": components["schemas"]["CreateEnrolment"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["NewEnrolment"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "watch-events": {
        parameters: {
            query?: {
                /** @description The same, for clients that cannot set the header */
                last_event_id?: number;
                /** @description Slug, id or external id; with it events of other projects, servers and shared storages are left out */
                project?: string;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description The id of the last event that was seen */
                "Last-Event-ID"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/event-stream": string;
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-install-script": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/x-shellscript": string;
                };
            };
            500: components["responses"]["InternalServerError"];
        };
    };
    "list-jobs": {
        parameters: {
            query?: {
                /** @description Only those that make or read a backup */
                backup_id?: number;
                /** @description Those that come before the row with this id; the newest if absent */
                before_id?: number;
                kind?: "backup" | "verify" | "restore" | "undo" | "settle" | "discard";
                /** @description Rows of an answer */
                limit?: number;
                /** @description A page by its number, from 1, with the total; instead of a cursor */
                page?: number;
                /** @description Rows of a numbered page */
                per_page?: number;
                /** @description Slug, id or external id */
                project?: string;
                /** @description Only those of a restore */
                restore_id?: number;
                /** @description Name or id */
                server?: string;
                /** @description open: those that have not ended */
                status?: "queued" | "running" | "finishing" | "completed" | "failed" | "cancelled" | "timed_out" | "open";
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PageJob"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-job": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "cancel-job": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "reason": "the host is restarted"
                 *     }
                 */
                "application/json": components["schemas"]["Reason"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-mutes": {
        parameters: {
            query?: {
                /** @description Those too that are over */
                all?: boolean;
                /** @description Those that come before the row with this id; the newest if absent */
                before_id?: number;
                /** @description Rows of an answer */
                limit?: number;
                /** @description A page by its number, from 1, with the total; instead of a cursor */
                page?: number;
                /** @description Rows of a numbered page */
                per_page?: number;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PageMute"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "create-mute": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description A random text: the same request with the same key is carried out once, and answered alike */
                "Idempotency-Key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "scope": "database",
                 *       "ref": "shop_production",
                 *       "for_seconds": 14400,
                 *       "reason": "moving to another host"
                 *     }
                 */
                "application/json": components["schemas"]["CreateMute"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Mute"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "end-mute": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Mute"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-notice-kinds": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ListNoticeKind"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-notices": {
        parameters: {
            query?: {
                /** @description Of one alarm, by its id */
                alarm?: number;
                /** @description Those that come before the row with this id; the newest if absent */
                before_id?: number;
                /** @description A kind of notices, such as backup_failing */
                kind?: string;
                /** @description Rows of an answer */
                limit?: number;
                /** @description A page by its number, from 1, with the total; instead of a cursor */
                page?: number;
                /** @description Rows of a numbered page */
                per_page?: number;
                /** @description Slug, id or external id */
                project?: string;
                /** @description At least */
                severity?: "info" | "warning" | "critical";
                /** @description Only those that went to no channel: muted, silenced, or nobody takes them */
                unsent?: boolean;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PageNotice"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-notice": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Notice"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-overview": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Overview"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-package": {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description As SHA256SUMS names it, or that itself */
                file: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/gzip": string;
                    "application/octet-stream": string;
                    "application/vnd.debian.binary-package": string;
                    "application/x-rpm": string;
                    "text/plain": string;
                };
            };
            /** @description Partial Content */
            206: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/gzip": string;
                    "application/octet-stream": string;
                    "application/vnd.debian.binary-package": string;
                    "application/x-rpm": string;
                    "text/plain": string;
                };
            };
            404: components["responses"]["NotFound"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-pauses": {
        parameters: {
            query?: {
                /** @description Those too that are over */
                all?: boolean;
                /** @description Those that come before the row with this id; the newest if absent */
                before_id?: number;
                /** @description Rows of an answer */
                limit?: number;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PagePause"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "create-pause": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description A random text: the same request with the same key is carried out once, and answered alike */
                "Idempotency-Key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "project": "shop",
                 *       "reason": "moving to another host"
                 *     }
                 */
                "application/json": components["schemas"]["CreatePause"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Pause"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "end-pause": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Pause"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-pre-deploy": {
        parameters: {
            query?: {
                /** @description How long to wait for the end; absent: not at all */
                wait_seconds?: number;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PreDeploy"];
                };
            };
            /** @description Accepted */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PreDeploy"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-projects": {
        parameters: {
            query?: {
                /** @description Those that follow the row with this id; the first if absent */
                after_id?: number;
                /** @description Rows of an answer */
                limit?: number;
                /** @description A page by its number, from 1, with the total; instead of a cursor */
                page?: number;
                /** @description Rows of a numbered page */
                per_page?: number;
                /** @description Part of the slug or the name, whatever its case */
                search?: string;
                /** @description Name or id; those that may use it */
                server?: string;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PartProject"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "create-project": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description A random text: the same request with the same key is carried out once, and answered alike */
                "Idempotency-Key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "slug": "shop",
                 *       "name": "The shop",
                 *       "external_id": "17",
                 *       "default_schedule": {
                 *         "frequency": "daily",
                 *         "time": "02:00",
                 *         "retention_days": 7
                 *       }
                 *     }
                 */
                "application/json": components["schemas"]["CreateProject"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Project"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-project": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Project"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "delete-project": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description The ETag of what is to be changed: it is changed only if it is still that version; 412 changed_meanwhile otherwise */
                "If-Match"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "update-project": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description The ETag of what is to be changed: it is changed only if it is still that version; 412 changed_meanwhile otherwise */
                "If-Match"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "The shop",
                 *       "max_jobs_per_hour": 60
                 *     }
                 */
                "application/json": components["schemas"]["UpdateProject"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Project"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-project-key": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ProjectKey"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "pre-deploy": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description A random text: a request that is sent again with it, after a broken connection, waits for the same backups */
                "Idempotency-Key"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "deadline_seconds": 900
                 *     }
                 */
                "application/json": components["schemas"]["CreatePreDeploy"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PreDeploy"];
                };
            };
            /** @description Accepted */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PreDeploy"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "grant-server": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
                /** @description Name or id */
                server: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "revoke-server-grant": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
                /** @description Name or id */
                server: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-project-statistics": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Statistics"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-protection": {
        parameters: {
            query?: {
                /** @description Those that follow the row with this id; the first if absent */
                after_id?: number;
                /** @description Rows of an answer */
                limit?: number;
                /** @description A page by its number, from 1, with the total; instead of a cursor */
                page?: number;
                /** @description Rows of a numbered page */
                per_page?: number;
                /** @description Slug, id or external id */
                project?: string;
                /** @description Part of the database's name, whatever its case */
                search?: string;
                /** @description Name or id */
                server?: string;
                state?: "overdue" | "unprotected" | "paused" | "waiting" | "protected" | "ignored" | "gone";
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PartProtection"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-protection-summary": {
        parameters: {
            query?: {
                /** @description Slug, id or external id; all that the caller sees if absent */
                project?: string;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ProtectionSummary"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-restores": {
        parameters: {
            query?: {
                /** @description Only those of a backup */
                backup_id?: number;
                /** @description Those that come before the row with this id; the newest if absent */
                before_id?: number;
                /** @description The target's exact name */
                database?: string;
                kind?: "restore" | "undo";
                /** @description Rows of an answer */
                limit?: number;
                /** @description A page by its number, from 1, with the total; instead of a cursor */
                page?: number;
                /** @description Rows of a numbered page */
                per_page?: number;
                /** @description Slug, id or external id */
                project?: string;
                /** @description Name or id */
                server?: string;
                /** @description Those made from then on */
                since?: string;
                status?: "pending" | "running" | "completed" | "failed";
                /** @description Those made before */
                until?: string;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PageRestore"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "create-restore": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description A random text: the same request with the same key is carried out once, and answered alike */
                "Idempotency-Key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "backup_id": 4711,
                 *       "to_database": "shop_copy"
                 *     }
                 */
                "application/json": components["schemas"]["CreateRestore"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Restore"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-restore": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Restore"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "cancel-restore": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "reason": "the wrong backup"
                 *     }
                 */
                "application/json": components["schemas"]["Reason"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "discard-kept": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "confirm": "shop_production"
                 *     }
                 */
                "application/json": components["schemas"]["DiscardKept"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Restore"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "keep-kept": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "keep_seconds": 86400
                 *     }
                 */
                "application/json": components["schemas"]["KeepKept"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Restore"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "undo-restore": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description A random text: the same request with the same key is carried out once, and answered alike */
                "Idempotency-Key"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "confirm": "shop_production"
                 *     }
                 */
                "application/json": components["schemas"]["Swap"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Restore"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "plan-undo": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /** @example {} */
                "application/json": components["schemas"]["Swap"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["RestorePlan"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "plan-restore": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "backup_id": 4711,
                 *       "in_place": true
                 *     }
                 */
                "application/json": components["schemas"]["CreateRestore"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["RestorePlan"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-schedules": {
        parameters: {
            query?: {
                /** @description Only active ones, or only those that are not */
                active?: "true" | "false";
                /** @description Those that follow this one; the first if absent */
                after_id?: number;
                /** @description Exact name or id; of those of one database */
                database?: string;
                /** @description Of those that are for one engine */
                engine?: "postgresql" | "mysql" | "sqlite";
                frequency?: "hourly" | "daily" | "weekly" | "monthly" | "cron";
                /** @description Rows of an answer */
                limit?: number;
                /** @description A page by its number, from 1, with the total; instead of a cursor */
                page?: number;
                /** @description Rows of a numbered page */
                per_page?: number;
                /** @description Slug, id or external id */
                project?: string;
                /** @description Name or id; of those of one database */
                server?: string;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SchedulePage"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "create-schedule": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description A random text: the same request with the same key is carried out once, and answered alike */
                "Idempotency-Key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "project": "shop",
                 *       "database_name": "shop_production",
                 *       "frequency": "daily",
                 *       "time": "02:00",
                 *       "retention_days": 30,
                 *       "notify_on_failure": true
                 *     }
                 */
                "application/json": components["schemas"]["CreateSchedule"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Schedule"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-schedule": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Schedule"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "delete-schedule": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description The ETag of what is to be changed: it is changed only if it is still that version; 412 changed_meanwhile otherwise */
                "If-Match"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "update-schedule": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description The ETag of what is to be changed: it is changed only if it is still that version; 412 changed_meanwhile otherwise */
                "If-Match"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "is_active": false
                 *     }
                 */
                "application/json": components["schemas"]["UpdateSchedule"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Schedule"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-occurrences": {
        parameters: {
            query?: {
                /** @description Those before it; the newest if absent */
                before?: string;
                /** @description Rows of an answer */
                limit?: number;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OccurrencePage"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "run-schedule": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description A random text: the same request with the same key is carried out once, and answered alike */
                "Idempotency-Key"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Created */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ListBackupOutcome"];
                };
            };
            /** @description Multi-Status */
            207: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ListBackupOutcome"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "preview-schedule": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "frequency": "weekly",
                 *       "day_of_week": 0,
                 *       "time": "02:00"
                 *     }
                 */
                "application/json": components["schemas"]["PreviewSchedule"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SchedulePreview"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-security-events": {
        parameters: {
            query?: {
                /** @description Those that come before the row with this id; the newest if absent */
                before_id?: number;
                /** @description Rows of an answer */
                limit?: number;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PageSecurityEvent"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-servers": {
        parameters: {
            query?: {
                /** @description Those that follow the row with this id; the first if absent */
                after_id?: number;
                /** @description Rows of an answer */
                limit?: number;
                /** @description A page by its number, from 1, with the total; instead of a cursor */
                page?: number;
                /** @description Rows of a numbered page */
                per_page?: number;
                /** @description Slug, id or external id; those that it may use */
                project?: string;
                /** @description Part of the name, whatever its case */
                search?: string;
                status?: "online" | "offline" | "revoked";
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PartServer"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-server": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Server"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "revoke-server": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description The ETag of what is to be changed: it is changed only if it is still that version; 412 changed_meanwhile otherwise */
                "If-Match"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Server"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "set-verifier": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description The ETag of what is to be changed: it is changed only if it is still that version; 412 changed_meanwhile otherwise */
                "If-Match"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "verifier": true
                 *     }
                 */
                "application/json": components["schemas"]["SetVerifier"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Server"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-session": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SignedIn"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "sign-in": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "zoe",
                 *       "password": "correct horse battery"
                 *     }
                 */
                "application/json": components["schemas"]["SignIn"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    "Set-Cookie"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SignedIn"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "sign-out": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    "Set-Cookie"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-sign-in-methods": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SignInMethods"];
                };
            };
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "oidc-sign-in": {
        parameters: {
            query?: {
                /** @description The console's page to come back to */
                return_to?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Found */
            302: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            404: components["responses"]["NotFound"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "oidc-callback": {
        parameters: {
            query?: {
                /** @description What the provider vouches by */
                code?: string;
                /** @description What the provider says that went wrong */
                error?: string;
                /** @description Of the sign-in that the browser began */
                state?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Found */
            302: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            404: components["responses"]["NotFound"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "change-password": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "old_password": "correct horse battery",
                 *       "new_password": "staple and another horse"
                 *     }
                 */
                "application/json": components["schemas"]["ChangePassword"];
            };
        };
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-sessions": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ListSession"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            409: components["responses"]["Conflict"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "end-session": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-settings": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Settings"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "update-settings": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description The ETag of what is to be changed: it is changed only if it is still that version; 412 changed_meanwhile otherwise */
                "If-Match"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "timezone": "Europe/Berlin"
                 *     }
                 */
                "application/json": components["schemas"]["UpdateSettings"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Settings"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-statistics": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Statistics"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-storages": {
        parameters: {
            query?: {
                /** @description Those that follow the row with this id; the first if absent */
                after_id?: number;
                kind?: "s3" | "local";
                /** @description Rows of an answer */
                limit?: number;
                /** @description A page by its number, from 1, with the total; instead of a cursor */
                page?: number;
                /** @description Rows of a numbered page */
                per_page?: number;
                /** @description Slug, id or external id; its own storages and those of all projects */
                project?: string;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PartStorage"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "create-storage": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description A random text: the same request with the same key is carried out once, and answered alike */
                "Idempotency-Key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "s3",
                 *       "endpoint": "https://s3.example.com",
                 *       "region": "eu-1",
                 *       "bucket": "backups",
                 *       "access_key": "AKIAEXAMPLE",
                 *       "secret_key": "only an example"
                 *     }
                 */
                "application/json": components["schemas"]["CreateStorage"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Storage"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-storage": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Storage"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "delete-storage": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description The ETag of what is to be changed: it is changed only if it is still that version; 412 changed_meanwhile otherwise */
                "If-Match"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "update-storage": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description The ETag of what is to be changed: it is changed only if it is still that version; 412 changed_meanwhile otherwise */
                "If-Match"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "region": "eu-2"
                 *     }
                 */
                "application/json": components["schemas"]["UpdateStorage"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Storage"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "set-default-storage": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description The ETag of what is to be changed: it is changed only if it is still that version; 412 changed_meanwhile otherwise */
                "If-Match"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Storage"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-findings": {
        parameters: {
            query?: {
                /** @description Rows of an answer */
                limit?: number;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ListStorageFinding"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-inventory": {
        parameters: {
            query?: {
                /** @description Hosts that follow the server with this id; the first if absent */
                after_server_id?: number;
                /** @description Rows of an answer */
                limit?: number;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ListStorageInventory"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "request-inventory": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Accepted */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ListStorageInventory"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "probe-storage": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Storage"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-tokens": {
        parameters: {
            query?: {
                /** @description Only those that work, or only those that are revoked or expired */
                active?: "true" | "false";
                /** @description Those that come before the row with this id; the newest if absent */
                before_id?: number;
                kind?: "api" | "panel";
                /** @description Rows of an answer */
                limit?: number;
                /** @description A page by its number, from 1, with the total; instead of a cursor */
                page?: number;
                /** @description Rows of a numbered page */
                per_page?: number;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PageAPIToken"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "create-token": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description A random text: the same request with the same key is carried out once, and answered alike */
                "Idempotency-Key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "panel",
                 *       "kind": "panel",
                 *       "permissions": [
                 *         "view-backups",
                 *         "create-backups"
                 *       ],
                 *       "ttl_seconds": 31536000
                 *     }
                 */
                "application/json": components["schemas"]["CreateToken"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["NewToken"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-token": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["APIToken"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "revoke-token": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description The ETag of what is to be changed: it is changed only if it is still that version; 412 changed_meanwhile otherwise */
                "If-Match"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "rotate-token": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description A random text: the same request with the same key is carried out once, and answered alike */
                "Idempotency-Key"?: string;
                /** @description The ETag of what is to be changed: it is changed only if it is still that version; 412 changed_meanwhile otherwise */
                "If-Match"?: string;
            };
            path: {
                /** @description Its id */
                id: number;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "grace_seconds": 3600
                 *     }
                 */
                "application/json": components["schemas"]["RotateToken"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["NewToken"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-trends": {
        parameters: {
            query?: {
                /** @description Exact name or id */
                database?: string;
                /** @description How many days, up to the last one */
                days?: number;
                /** @description Slug, id or external id; all that the caller sees if absent */
                project?: string;
                /** @description The last day, YYYY-MM-DD; today if absent */
                until?: string;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Trend"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "list-users": {
        parameters: {
            query?: {
                /** @description Names behind it; the first if absent */
                after?: string;
                /** @description Only those who are disabled, or only those who are not */
                disabled?: "true" | "false";
                /** @description Rows of an answer */
                limit?: number;
                /** @description A page by its number, from 1, with the total; instead of a cursor */
                page?: number;
                /** @description Rows of a numbered page */
                per_page?: number;
                /** @description Part of the name or the display name, whatever its case */
                search?: string;
            };
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Users"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "create-user": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description A random text: the same request with the same key is carried out once, and answered alike */
                "Idempotency-Key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "zoe",
                 *       "display_name": "Zoë",
                 *       "password": "correct horse battery",
                 *       "permissions": [
                 *         "view-backups"
                 *       ],
                 *       "projects": [
                 *         "shop"
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["CreateUser"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["User"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-user": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["User"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "delete-user": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description The ETag of what is to be changed: it is changed only if it is still that version; 412 changed_meanwhile otherwise */
                "If-Match"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "update-user": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description The ETag of what is to be changed: it is changed only if it is still that version; 412 changed_meanwhile otherwise */
                "If-Match"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "permissions": [
                 *         "view-backups",
                 *         "restore-backups"
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["UpdateUser"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["User"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "set-password": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
                /** @description The ETag of what is to be changed: it is changed only if it is still that version; 412 changed_meanwhile otherwise */
                "If-Match"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "password": "correct horse battery"
                 *     }
                 */
                "application/json": components["schemas"]["SetPassword"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["User"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "end-user-sessions": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path: {
                /** @description Name or id; a project's slug, id or external id */
                ref: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["RequestEntityTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    "get-version": {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Version"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
    whoami: {
        parameters: {
            query?: never;
            header?: {
                /** @description That user's permissions, parted by commas, or *: no more than these and the token's are in force */
                "DevFlow-Acting-Permissions"?: string;
                /** @description That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen */
                "DevFlow-Acting-Projects"?: string;
                /** @description The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it */
                "DevFlow-Acting-User"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Whoami"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["UnprocessableEntity"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalServerError"];
            503: components["responses"]["ServiceUnavailable"];
        };
    };
}
