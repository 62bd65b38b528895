<?php

declare(strict_types=1);

/*
 * What the panel does, one flow a run: php flows.php FLOW JSON. The JSON tells where the API is, with which token and for whom, and what the
 * flow works on. It prints what it saw as JSON and ends with status 0; where the API answers otherwise than the panel needs, it says so and
 * ends with status 1.
 */

require __DIR__ . '/Client.php';

set_error_handler(static function (int $level, string $message, string $file, int $line): bool {
    throw new ErrorException($message, 0, $level, $file, $line);
});

final class Unexpected extends RuntimeException
{
}

function same(mixed $want, mixed $got, string $what): void
{
    if ($want !== $got) {
        throw new Unexpected(sprintf('%s is %s, not %s', $what, json_encode($got), json_encode($want)));
    }
}

function holds(bool $is, string $what, mixed $got = null): void
{
    if (!$is) {
        throw new Unexpected($what . ($got === null ? '' : ': ' . json_encode($got)));
    }
}

/** The answer, if the request came to that. */
function answered(int $status, Answer $a): Answer
{
    if ($a->status !== $status) {
        throw new Unexpected(sprintf('the answer is %d %s, not %d', $a->status, json_encode($a->body), $status));
    }

    return $a;
}

/** The problem, if the request was refused so. */
function refused(int $status, string $code, Answer $a, string $field = ''): Answer
{
    answered($status, $a);
    same('application/problem+json', $a->headers['content-type'] ?? '', 'the content type');
    same($code, $a->body['code'], 'the code');
    holds($a->why() !== '' && $a->body['request_id'] !== '', 'a problem has a sentence and the id of its request', $a->body);
    if ($field !== '') {
        same($field, $a->body['field'] ?? '', 'the field');
    }

    return $a;
}

/** Relative times are the panel's own: it knows the user's language. */
function ago(?string $at, ?DateTimeImmutable $now = null): string
{
    if ($at === null) {
        return 'Never';
    }
    $seconds = max(0, ($now ?? new DateTimeImmutable())->getTimestamp() - (new DateTimeImmutable($at))->getTimestamp());
    foreach ([['day', 86400], ['hour', 3600], ['minute', 60]] as [$unit, $of]) {
        if ($seconds >= $of) {
            $n = intdiv($seconds, $of);

            return "$n $unit" . ($n === 1 ? '' : 's') . ' ago';
        }
    }

    return 'just now';
}

/** A backup that has ended, or a restore. */
function ended(Client $panel, string $path, float $limit = 60): array
{
    for ($until = microtime(true) + $limit; ; usleep(100_000)) {
        $row = answered(200, $panel->call('GET', $path))->body;
        if (in_array($row['status'], ['completed', 'failed'], true)) {
            return $row;
        }
        holds(microtime(true) < $until, "$path did not end", $row);
    }
}

/** @return array<string, mixed> */
function cards(Client $panel, array $on): array
{
    $s = answered(200, $panel->call('GET', "/projects/{$on['project']}/statistics"))->body;

    return [
        'Total Backups' => $s['total_backups'],
        'Scheduled' => $s['active_schedules'],
        'Storage Used' => $s['display']['storage_used'],
        'Last Backup' => ago($s['last_backup']['completed_at'] ?? null),
        'bytes' => $s['storage_used'],
    ];
}

/** A new project has its daily schedule at once, for the databases that are assigned later. */
function project(Client $panel, array $on): array
{
    $spec = ['slug' => 'panel-new', 'name' => 'New', 'external_id' => $on['project'], 'default_schedule' => ['frequency' => 'daily', 'time' => '02:00', 'retention_days' => 7]];
    $made = answered(201, $panel->call('POST', '/projects', $spec, ['Idempotency-Key' => 'project-' . $on['project']]))->body;
    same($on['project'], $made['external_id'], 'the panel\'s id');
    $rows = answered(200, $panel->call('GET', "/schedules?project={$on['project']}&page=1"))->body['items'];
    same(['Daily at 02:00', 'default', 7, true], [$rows[0]['display']['frequency'], $rows[0]['scope'], $rows[0]['retention_days'], $rows[0]['is_active']], 'its schedule');
    same(['Total Backups' => 0, 'Scheduled' => 1, 'Storage Used' => '0 B', 'Last Backup' => 'Never', 'bytes' => 0], cards($panel, $on), 'its cards');
    answered(204, $panel->call('DELETE', "/projects/{$on['project']}"));

    return ['project' => $made['id']];
}

/** The schedules' table and form: made of each frequency, shown, changed, switched off and on, removed. */
function schedules(Client $panel, array $on): array
{
    ['project' => $project, 'database' => $database] = $on;
    $table = static fn (): array => answered(200, $panel->call('GET', "/schedules?project=$project&page=1"))->body;
    if (time() % 3600 > 3590) { // an hourly one is not to occur while it is looked at
        sleep(12);
    }
    same([0, []], [$table()['total'], $table()['items']], 'the table of a new project');

    $form = ['project' => $project, 'database_name' => $database, 'storage' => 'store', 'retention_days' => 30,
        'retention_daily' => 7, 'retention_weekly' => 4, 'retention_monthly' => 3, 'encrypt' => false, 'notify_on_failure' => true, 'compression' => 'zstd', 'level' => 3];
    $preview = answered(200, $panel->call('POST', '/schedules/preview', ['frequency' => 'monthly', 'time' => '02:00', 'day_of_month' => 31] + $form))->body;
    same([5, 'Monthly on day 31 at 02:00'], [count($preview['next_five']), $preview['label']], 'the preview');
    holds(new DateTimeImmutable($preview['next_five'][0]) > new DateTimeImmutable(), 'the next time is to come', $preview);

    $frequencies = [
        'Every Hour' => ['frequency' => 'hourly'],
        'Daily at 02:00' => ['frequency' => 'daily', 'time' => '02:00'],
        'Daily at 03:15:30' => ['frequency' => 'daily', 'time' => '03:15:30'],
        'Weekly on Sunday at 02:00' => ['frequency' => 'weekly', 'time' => '02:00', 'day_of_week' => 0],
        'Monthly on day 1 at 02:00' => ['frequency' => 'monthly', 'time' => '02:00', 'day_of_month' => 1],
    ];
    $made = [];
    foreach ($frequencies as $label => $when) {
        $a = answered(201, $panel->call('POST', '/schedules', $when + $form, ['Idempotency-Key' => "$project-" . count($made)]));
        same($label, $a->body['display']['frequency'], 'the label');
        same([true, 30, 7, 4, 3, false, true], [$a->body['is_active'], $a->body['retention_days'], $a->body['retention_daily'], $a->body['retention_weekly'],
            $a->body['retention_monthly'], $a->body['encrypt'], $a->body['notify_on_failure']], 'what was made');
        $made[] = $a;
    }
    $twice = answered(201, $panel->call('POST', '/schedules', ['frequency' => 'hourly'] + $form, ['Idempotency-Key' => "$project-0"]));
    same($made[0]->body['id'], $twice->body['id'], 'the schedule of a form that was sent twice');
    refused(422, 'invalid', $panel->call('POST', '/schedules', ['frequency' => 'weekly', 'day_of_week' => 7] + $form), 'day_of_week');
    refused(422, 'invalid', $panel->call('POST', '/schedules', ['frequency' => 'daily', 'time' => '25:00'] + $form), 'time');
    refused(422, 'invalid', $panel->call('POST', '/schedules', ['frequency' => 'daily', 'retention_days' => 366] + $form), 'retention_days');
    refused(404, 'not_found', $panel->call('POST', '/schedules', ['frequency' => 'daily', 'time' => '02:00', 'database_name' => 'nosuch'] + $form));

    $page = $table();
    same([5, 1, 1, 10], [$page['total'], $page['page'], $page['last_page'], $page['per_page']], 'the table');
    same(array_keys($frequencies), array_map(static fn (array $row): string => $row['display']['frequency'], $page['items']), 'the labels');
    foreach ($page['items'] as $row) {
        holds($row['next_run_at'] !== null && $row['last_run_at'] === null && $row['display']['engine'] === 'SQLite' && $row['display']['storage'] === 'store', 'a row', $row);
        holds(str_contains($row['display']['retention'], '30'), 'it tells its retention', $row['display']);
    }

    // The toggle, by one who saw the row as it is, and by one who saw it before.
    $daily = $made[1]->body['id'];
    $seen = answered(200, $panel->call('GET', "/schedules/$daily"))->headers['etag'];
    $off = answered(200, $panel->call('PATCH', "/schedules/$daily", ['is_active' => false], ['If-Match' => $seen]))->body;
    same([false, 'Inactive'], [$off['is_active'], $off['display']['status']['label']], 'a schedule that was switched off');
    refused(412, 'changed_meanwhile', $panel->call('PATCH', "/schedules/$daily", ['is_active' => true], ['If-Match' => $seen]));
    same(4, cards($panel, $on)['Scheduled'], 'active schedules');
    same(1, answered(200, $panel->call('GET', "/schedules?project=$project&page=1&active=false"))->body['total'], 'those that are not active');
    same(true, answered(200, $panel->call('PATCH', "/schedules/$daily", ['is_active' => true]))->body['is_active'], 'switched on again');

    foreach ($made as $a) {
        answered(204, $panel->call('DELETE', "/schedules/{$a->body['id']}"));
    }
    refused(404, 'not_found', $panel->call('DELETE', "/schedules/$daily"));
    same(0, $table()['total'], 'the table of what was deleted');

    return ['labels' => array_keys($frequencies)];
}

/** Create Backup Now, with its progress from the stream, and once more from the last event on. */
function create(Client $panel, array $on): array
{
    $choice = answered(200, $panel->call('GET', '/databases?project=' . $on['project']))->body['items'];
    holds(in_array($on['database'], array_column($choice, 'name'), true), 'the form offers the database', array_column($choice, 'name'));
    refused(404, 'not_found', $panel->call('POST', '/backups', ['project' => $on['project'], 'database' => 'nosuch']));

    $backup = null;
    $stages = $states = [];
    $last = '';
    $end = $panel->events($on['project'], static function (string $event, array $data, string $id) use ($panel, $on, &$backup, &$stages, &$states, &$last): ?array {
        if ($id !== '') {
            $last = $id;
        }
        if ($event === 'hello') { // from here on nothing is missed
            $ordered = answered(201, $panel->call('POST', '/backups', ['project' => $on['project'], 'database' => $on['database']], ['Idempotency-Key' => 'now-' . $on['project']]));
            $backup = $ordered->body['items'][0]['backup'];
            same(['pending', 'yellow', 'manual'], [$backup['status'], $backup['display']['status']['colour'], $backup['type']], 'what was ordered');
            same($backup['id'], $panel->call('POST', '/backups', ['project' => $on['project'], 'database' => $on['database']], ['Idempotency-Key' => 'now-' . $on['project']])->body['items'][0]['backup']['id'],
                'the backup of a button that was pressed twice');
        } elseif ($event === 'progress' && $data['backup_id'] === $backup['id']) {
            if ($stages === []) {
                echo "progress\n"; // whoever holds the store lets it go on
                flush();
                $running = answered(200, $panel->call('GET', "/backups/{$backup['id']}"))->body;
                same(['running', 'blue'], [$running['status'], $running['display']['status']['colour']], 'a backup at work');
                holds(isset($running['progress']['stage']), 'it tells its progress', $running['progress'] ?? null);
            }
            $stages[] = $data['progress']['stage'];
        } elseif ($event === 'backup' && ($data['row']['id'] ?? 0) === $backup['id']) {
            $states[] = $data['row']['status'];
            if (in_array($data['row']['status'], ['completed', 'failed'], true)) {
                return $data;
            }
        }

        return null;
    });
    same(['pending', 'running', 'completed'], array_values(array_unique($states)), 'its states');
    holds($stages !== [], 'there was progress');

    // A stream that broke before the end tells what followed.
    $again = $panel->events($on['project'], static fn (string $event, array $data, string $id): ?array => $event === 'backup' && $data['row']['id'] === $backup['id'] && $data['row']['status'] === 'completed' ? $data : null,
        (string) ($end['id'] - 1));
    same($end['id'], $again['id'], 'the event after a break');

    $done = answered(200, $panel->call('GET', "/backups/{$backup['id']}"))->body;
    same(['completed', 'green', 'check-circle', 'purple', 'shield'], [$done['status'], $done['display']['status']['colour'], $done['display']['status']['icon'], $done['display']['shield']['colour'],
        $done['display']['shield']['icon']], 'the badge and the shield');

    return ['backup' => $backup['id'], 'stages' => array_values(array_unique($stages))];
}

/** The history, ten a page, to its end, and by its filters. */
function history(Client $panel, array $on): array
{
    $pages = $rows = [];
    for ($n = 1; ; ++$n) {
        $page = answered(200, $panel->call('GET', "/backups?project={$on['project']}&page=$n"))->body;
        same([$n, 10], [$page['page'], $page['per_page']], 'the page');
        $pages[] = count($page['items']);
        $rows = [...$rows, ...$page['items']];
        if ($n >= $page['last_page']) {
            break;
        }
    }
    same($page['total'], count($rows), 'the rows of all pages');
    $ids = array_column($rows, 'id');
    $newest = $ids;
    rsort($newest);
    same($newest, array_values(array_unique($ids)), 'the order');
    foreach ($rows as $row) {
        $d = $row['display'];
        holds($d['file_name'] !== '' && $d['storage'] === 'store' && in_array($d['type'], ['Manual', 'Pre-deploy', 'Pre-restore'], true) && in_array($d['engine'], ['PostgreSQL', 'MySQL', 'SQLite'], true), 'a row', $d);
        holds(str_ends_with(ago($row['created_at']), 'ago') || ago($row['created_at']) === 'just now', 'it tells when', $row['created_at']);
        if ($row['status'] === 'completed') {
            holds(preg_match('/^[\d.]+ ([KM]?B)$/', $d['size']) === 1 && preg_match('/^[\d.]+[smh]$/', $d['duration']) === 1 && $d['status']['colour'] === 'green', 'a completed row', $d);
        } elseif ($row['status'] === 'failed') {
            holds($d['status']['colour'] === 'red' && $d['status']['icon'] === 'x-circle' && $d['message'] !== '', 'a failed row', $d);
        }
    }
    $count = static fn (string $filter): int => answered(200, $panel->call('GET', "/backups?project={$on['project']}&page=1&$filter"))->body['total'];
    foreach (['status' => ['completed', 'failed', 'running', 'pending'], 'type' => ['manual', 'scheduled', 'pre_deploy', 'pre_restore'], 'verified' => ['true', 'false']] as $filter => $values) {
        same(count($rows), array_sum(array_map(static fn (string $v): int => $count("$filter=$v"), $values)), "the rows by $filter");
    }
    same(0, $count('until=2020-01-01T00:00:00Z'), 'rows of long ago');
    refused(422, 'invalid', $panel->call('GET', "/backups?project={$on['project']}&page=1&status=done"), 'status');

    return ['pages' => $pages, 'failed' => $count('status=failed')];
}

/** The purple shield becomes a green one, and can be verified again. */
function verify(Client $panel, array $on): array
{
    $path = '/backups/' . $on['backup'];
    $before = answered(200, $panel->call('GET', $path))->body;
    same([null, 'purple', 'shield'], [$before['verified_at'], $before['display']['shield']['colour'], $before['display']['shield']['icon']], 'the shield before');
    $times = [];
    foreach (['checksum', 'content'] as $level) {
        $job = answered(202, $panel->call('POST', "$path/verify", ['level' => $level]))->body;
        same(['verify', $on['backup']], [$job['kind'], $job['backup_id']], 'the job');
        $job = jobEnded($panel, $job['id']);
        same('completed', $job['status'], 'the verification');
        $row = answered(200, $panel->call('GET', $path))->body;
        same(['green', 'shield-check', $level], [$row['display']['shield']['colour'], $row['display']['shield']['icon'], $row['verified_level']], 'the shield');
        holds(str_starts_with($row['display']['shield']['label'], 'Verified at 2'), 'the tooltip', $row['display']['shield']);
        $times[] = $row['verified_at'];
    }
    holds($times[0] < $times[1], 'it is verified again', $times);
    refused(422, 'invalid', $panel->call('POST', '/backups/verify', []));

    return ['verified_at' => $times[1]];
}

function jobEnded(Client $panel, int $id): array
{
    for ($until = microtime(true) + 60; ; usleep(100_000)) {
        $job = answered(200, $panel->call('GET', "/jobs/$id"))->body;
        if ($job['ended_at'] !== null) {
            return $job;
        }
        holds(microtime(true) < $until, 'the job did not end', $job);
    }
}

/** The bytes as they lie in the storage, by a link that needs no token. */
function download(Client $panel, array $on): array
{
    $link = answered(201, $panel->call('POST', "/backups/{$on['backup']}/download", ['via' => 'controller']))->body;
    $context = stream_context_create(['ssl' => ['cafile' => $on['authority']], 'http' => ['timeout' => 60]]);
    $in = fopen($link['url'], 'rb', false, $context);
    $sum = hash_init('sha256');
    $bytes = hash_update_stream($sum, $in);
    fclose($in);
    $row = answered(200, $panel->call('GET', '/backups/' . $on['backup']))->body;
    same([$row['file_size'], $row['checksum'], $row['file_name']], [$bytes, hash_final($sum), $link['file_name']], 'what came');

    return ['bytes' => $bytes];
}

/** The undo arrow: what it would do, the typed name, the restore in place, and back. */
function restore(Client $panel, array $on): array
{
    $asked = ['backup_id' => $on['backup'], 'in_place' => true];
    $plan = answered(200, $panel->call('POST', '/restores/plan', $asked))->body;
    holds($plan['can_start'] && $plan['target']['in_place'] && $plan['target']['database'] === $on['database'] && count($plan['steps']) > 2, 'the plan', $plan);
    refused(422, 'invalid', $panel->call('POST', '/restores', $asked), 'confirm');
    refused(422, 'invalid', $panel->call('POST', '/restores', $asked + ['confirm' => 'yes']), 'confirm');
    $identity = $plan['target']['found']['identity'];
    $made = answered(201, $panel->call('POST', '/restores', $asked + ['confirm' => $on['database'], 'identity' => $identity], ['Idempotency-Key' => 'restore-' . $on['backup']]))->body;
    $done = ended($panel, '/restores/' . $made['id']);
    same(['completed', 'green', 'Restore', 'replaced'], [$done['status'], $done['display']['status']['colour'], $done['display']['kind'], $done['target_state']], 'the restore');
    holds($done['safety_backup_id'] > 0 && $done['kept_until'] !== null, 'a safety backup was made, and what was there is kept', $done);

    return ['restore' => $done['id'], 'safety' => $done['safety_backup_id']];
}

function undo(Client $panel, array $on): array
{
    $path = '/restores/' . $on['restore'];
    holds(answered(200, $panel->call('POST', "$path/undo/plan", []))->body['can_start'], 'it can be undone');
    $made = answered(201, $panel->call('POST', "$path/undo", ['confirm' => $on['database']]))->body;
    $done = ended($panel, '/restores/' . $made['id']);
    same(['completed', 'Undo'], [$done['status'], $done['display']['kind']], 'the undo');
    // What it kept in its turn is not wanted.
    answered(200, $panel->call('POST', "/restores/{$made['id']}/discard", ['confirm' => $on['database']]));

    return ['restore' => $made['id']];
}

/** Delete, and taken back, and deleted; the last good one asks for its name. */
function delete(Client $panel, array $on): array
{
    $path = '/backups/' . $on['backup'];
    $gone = answered(200, $panel->call('POST', "$path/delete", ['reason' => 'by the panel']))->body;
    holds($gone['deleted_at'] !== null && $gone['delete_after'] !== null, 'it is deleted', $gone);
    refused(409, 'conflict', $panel->call('POST', "$path/verify", []));
    same(null, answered(200, $panel->call('POST', "$path/undelete"))->body['deleted_at'], 'taken back');
    answered(200, $panel->call('POST', "$path/delete", ['grace_seconds' => 0]));
    $total = answered(200, $panel->call('GET', "/backups?project={$on['project']}&page=1"))->body;
    holds(!in_array($on['backup'], array_column($total['items'], 'id'), true), 'it is in the history no more');
    $kept = refused(409, 'conflict', $panel->call('POST', "/backups/{$on['last']}/delete", []));
    holds(str_contains($kept->why(), 'last good backup'), 'it asks for the name', $kept->why());

    return [];
}

/** The page of storages: the test with its steps, and one for the project alone. */
function storage(Client $panel, array $on): array
{
    $tested = answered(200, $panel->call('POST', '/storages/store/probe', []))->body;
    $steps = array_column($tested['probe']['steps'], null, 'name');
    foreach (['list', 'write', 'read', 'delete'] as $name) {
        holds(($steps[$name]['ok'] ?? false) && is_int($steps[$name]['millis']), "the test has $name, with its milliseconds", array_keys($steps));
    }
    holds($tested['probed_at'] !== null && $tested['display']['status']['label'] === 'Connected', 'when it was tested', $tested['display']);

    // One that cannot be reached is not taken, and the steps say where it ended.
    $spec = $on['spec'] + ['name' => 'panel-own', 'project' => $on['project'], 'prefix' => 'panel'];
    $p = refused(422, 'probe_failed', $panel->call('POST', '/storages', ['secret_key' => 'wrong'] + $spec));
    holds(isset($p->body['probe']['steps']), 'the problem has the steps', $p->body);
    $made = answered(201, $panel->call('POST', '/storages', $spec))->body;
    holds($made['project_id'] !== null && !isset($made['secret_key']), 'a storage of the project', $made);
    same('panel-own-2', answered(200, $panel->call('PATCH', '/storages/panel-own', ['name' => 'panel-own-2']))->body['name'], 'the new name');
    $names = array_column(answered(200, $panel->call('GET', '/storages'))->body['items'], 'name');
    holds(in_array('store', $names, true) && in_array('panel-own-2', $names, true), 'the page lists both', $names);
    answered(204, $panel->call('DELETE', '/storages/panel-own-2'));

    return ['steps' => array_map(static fn (array $s): int => $s['millis'], $steps)];
}

/** What a deploy asks first. Only completed lets it go on. */
function deploy(Client $panel, array $on): array
{
    $a = $panel->call('POST', "/projects/{$on['project']}/pre-deploy", $on['ask'] ?? [], ['Idempotency-Key' => $on['key']], 120);
    if ($a->status === 202) { // the answer did not come in time: the same key waits for the same backups
        $a = $panel->call('GET', "/pre-deploys/{$a->body['id']}?wait_seconds=60", null, [], 120);
    }
    $result = $a->status === 200 ? $a->body['status'] : $a->body['code'];
    holds(in_array($result, ['completed', 'backup_failed', 'nothing_to_back_up'], true), 'it is one of three', $a->body);
    same($result === 'completed', $a->ok(), 'whether the deploy goes on');

    return ['result' => $result, 'why' => $a->why(), 'databases' => (object) array_column($a->body['databases'] ?? $a->body['pre_deploy']['databases'] ?? [], 'status', 'database_name')];
}

/** A user who may look and no more. */
function viewer(Client $panel, array $on): array
{
    answered(200, $panel->call('GET', "/backups?project={$on['project']}&page=1"));
    answered(202, $panel->call('POST', "/backups/{$on['backup']}/verify", []));
    $forbidden = [
        ['POST', '/backups', ['project' => $on['project']], 'create-backups'],
        ['POST', "/projects/{$on['project']}/pre-deploy", [], 'create-backups'],
        ['POST', '/restores/plan', ['backup_id' => $on['backup']], 'restore-backups'],
        ['POST', '/restores', ['backup_id' => $on['backup'], 'to_database' => 'x'], 'restore-backups'],
        ['POST', "/backups/{$on['backup']}/delete", [], 'delete-backups'],
        ['POST', "/backups/{$on['backup']}/download", [], 'download-backups'],
        ['POST', '/cleanup', ['project' => $on['project']], 'delete-backups'],
        ['POST', '/schedules', ['project' => $on['project'], 'database_name' => $on['database'], 'frequency' => 'hourly'], 'manage-schedules'],
        ['POST', '/storages/store/probe', [], 'manage-storages'],
        ['GET', '/audit', null, 'view-audit-logs'],
    ];
    foreach ($forbidden as [$method, $path, $body, $permission]) {
        $p = refused(403, 'forbidden', $panel->call($method, $path, $body));
        holds(str_contains($p->why(), $permission), 'it names the permission', [$path, $p->why()]);
    }

    return ['forbidden' => count($forbidden)];
}

/** Another project is not there, whatever the permission. */
function foreign(Client $panel, array $on): array
{
    $gone = [
        ['GET', "/projects/{$on['other']}", null], ['GET', "/projects/{$on['other']}/statistics", null], ['GET', "/backups?project={$on['other']}&page=1", null],
        ['GET', "/schedules?project={$on['other']}&page=1", null], ['GET', "/backups/{$on['foreign']}", null], ['GET', "/backups/{$on['foreign']}/log", null],
        ['POST', "/backups/{$on['foreign']}/verify", []], ['POST', "/backups/{$on['foreign']}/delete", []], ['POST', "/backups/{$on['foreign']}/download", []],
        ['POST', '/restores/plan', ['backup_id' => $on['foreign']]], ['POST', '/backups', ['project' => $on['other']]], ['POST', "/projects/{$on['other']}/pre-deploy", []],
        ['POST', '/cleanup', ['project' => $on['other'], 'dry_run' => true]], ['GET', "/events?project={$on['other']}", null],
    ];
    foreach ($gone as [$method, $path, $body]) {
        refused(404, 'not_found', $panel->call($method, $path, $body));
    }
    $seen = array_unique(array_column(answered(200, $panel->call('GET', '/backups?limit=200'))->body['items'], 'project'));
    same([$on['project']], array_values($seen), 'the projects of all backups that are seen');

    return ['gone' => count($gone)];
}

/** A project that has reached its limit orders no more, whoever asks. */
function quota(Client $panel, array $on): array
{
    $p = refused(429, 'quota_exceeded', $panel->call('POST', '/backups', ['project' => $on['project'], 'database' => $on['database']]));
    holds(str_contains($p->why(), 'max_jobs_per_hour'), 'it names the limit', $p->why());
    refused(403, 'forbidden', $panel->call('PATCH', "/projects/{$on['project']}", ['max_jobs_per_hour' => null]));

    return ['why' => $p->why()];
}

/** What a clean-up would do, and why. */
function cleanup(Client $panel, array $on): array
{
    $plan = answered(200, $panel->call('POST', '/cleanup', ['project' => $on['project'], 'dry_run' => true]))->body;
    same(true, $plan['dry_run'], 'it is a dry run');
    foreach ($plan['items'] as $item) {
        holds(!$item['removed'] && in_array($item['action'], ['keep', 'later', 'remove'], true) && ($item['reasons'][0]['text'] ?? '') !== '', 'each has its reason', $item);
    }

    return ['kept' => $plan['kept'], 'removed' => $plan['removed'], 'remove' => array_column(array_filter($plan['items'], static fn (array $i): bool => $i['action'] === 'remove'), 'backup_id')];
}

try {
    [, $flow, $json] = $argv;
    $on = json_decode($json, true, 16, JSON_THROW_ON_ERROR);
    $panel = new Client($on['url'], $on['authority'], trim(file_get_contents($on['token_file'])), $on['user']);
    echo json_encode((object) $flow($panel, $on), JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES), "\n";
} catch (Unexpected $e) {
    fwrite(STDERR, "$flow: {$e->getMessage()}\n");
    foreach ($e->getTrace() as $at) {
        fwrite(STDERR, '  ' . ($at['function'] ?? '') . ' at line ' . ($at['line'] ?? '?') . "\n");
    }
    exit(1);
}
