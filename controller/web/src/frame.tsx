// The frame around every page: where one is, where one can go, and who one is.
import { ActionIcon, AppShell, Avatar, Burger, Group, Menu, NavLink, ScrollArea, Text, Tooltip, useComputedColorScheme, useMantineColorScheme } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useQueryClient } from "@tanstack/react-query";
import { IconArrowBackUp, IconBell, IconFolders, IconHistory, IconKey, IconLayoutDashboard, IconLogout, IconMoon, IconServer2, IconSettings, IconShieldCheck, IconStack2, IconSun, type Icon } from "./icons";
import { useEffect, type ReactNode } from "react";
import { Link, useLocation } from "wouter";
import { follow, useLive } from "./api/events";
import { useAlarmSummary } from "./api/queries";
import { useSession } from "./api/session";
import { count, plural } from "./format";

type Place = { to: string; label: string; icon: Icon; needs: string[] };

const places: Place[] = [
  { to: "/", label: "Overview", icon: IconLayoutDashboard, needs: ["view-backups"] },
  { to: "/protection", label: "Protection", icon: IconShieldCheck, needs: ["view-backups"] },
  { to: "/alarms", label: "Alarms", icon: IconBell, needs: ["view-backups"] },
  { to: "/projects", label: "Projects", icon: IconFolders, needs: ["view-backups"] },
  { to: "/restores", label: "Restores", icon: IconArrowBackUp, needs: ["view-backups"] },
  { to: "/servers", label: "Servers", icon: IconServer2, needs: ["view-backups"] },
  { to: "/storages", label: "Storages", icon: IconStack2, needs: ["view-backups"] },
  { to: "/access", label: "People and tokens", icon: IconKey, needs: ["manage-tokens"] },
  { to: "/audit", label: "Audit log", icon: IconHistory, needs: ["view-audit-logs"] },
  { to: "/settings", label: "Settings", icon: IconSettings, needs: [] },
];

export function Frame({ children }: { children: ReactNode }) {
  const [opened, menu] = useDisclosure();
  const [at] = useLocation();
  const client = useQueryClient();
  const { who, can, signOut } = useSession();
  const live = useLive();
  useEffect(() => follow(client), [client]);
  useEffect(() => menu.close(), [at]); // eslint-disable-line react-hooks/exhaustive-deps
  const name = who.display_name || who.name;
  return (
    <AppShell header={{ height: 56 }} navbar={{ width: 224, breakpoint: "sm", collapsed: { mobile: !opened } }} padding={{ base: "md", sm: "xl" }}>
      <a href="#main" className="skip">Skip to the content</a>
      <AppShell.Header>
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group gap="sm" wrap="nowrap">
            <Burger opened={opened} onClick={menu.toggle} hiddenFrom="sm" size="sm" aria-label={opened ? "Close the menu" : "Open the menu"} aria-expanded={opened} />
            <Link href="/" className="brand"><img src="/console/icon.svg" alt="" width={28} height={28} />DevFlow Backup</Link>
          </Group>
          <Group gap="xs" wrap="nowrap">
            <Tooltip label={live ? "Changes appear as they happen" : "Changes appear within seconds: the page asks again by itself"}>
              <Group gap={6} visibleFrom="xs" tabIndex={0} role="status">
                <span style={{ width: 8, height: 8, borderRadius: 8, background: live ? "var(--green)" : "var(--mantine-color-yellow-filled)" }} aria-hidden />
                <Text size="xs" c="dimmed">{live ? "Live" : "Polling"}</Text>
              </Group>
            </Tooltip>
            {can("view-backups") ? <Bell /> : null}
            <SchemeSwitch />
            <Menu position="bottom-end" width={220}>
              <Menu.Target>
                <ActionIcon variant="subtle" color="gray" size="lg" radius="xl" aria-label={`Signed in as ${name}`}>
                  <Avatar size={30} radius="xl" color="blue" name={name} alt="" />
                </ActionIcon>
              </Menu.Target>
              <Menu.Dropdown>
                <Menu.Label>
                  <Text size="sm" fw={600} c="var(--mantine-color-text)" className="wrap">{name}</Text>
                  {who.admin ? "Administrator" : who.kind === "user" ? "Signed in" : "API token"}
                </Menu.Label>
                <Menu.Item leftSection={<IconSettings size={16} />} component={Link} href="/settings">Settings</Menu.Item>
                <Menu.Item leftSection={<IconLogout size={16} />} onClick={() => void signOut()}>Sign out</Menu.Item>
              </Menu.Dropdown>
            </Menu>
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="sm">
        <AppShell.Section grow component={ScrollArea}>
          <nav aria-label="Main">
            {places.filter((p) => can(...p.needs)).map((p) => {
              const here = p.to === "/" ? at === "/" : at.startsWith(p.to) || (p.to === "/projects" && at.startsWith("/backups"));
              return (
                <NavLink key={p.to} component={Link} href={p.to} label={p.label} active={here} aria-current={here ? "page" : undefined} leftSection={<p.icon size={19} stroke={1.7} aria-hidden />} mb={2} fw={here ? 600 : 450} style={{ borderRadius: 8 }} />
              );
            })}
          </nav>
        </AppShell.Section>
      </AppShell.Navbar>
      <AppShell.Main id="main" tabIndex={-1}>
        <div style={{ maxWidth: 1320, margin: "0 auto" }}>{children}</div>
      </AppShell.Main>
    </AppShell>
  );
}

/** How much is wrong that nobody muted; on every page. */
function Bell() {
  const alarms = useAlarmSummary().data;
  const n = (alarms?.critical ?? 0) + (alarms?.warning ?? 0);
  const label = !alarms ? "Alarms" : n ? [alarms.critical && `${count(alarms.critical)} critical`, alarms.warning && plural(alarms.warning, "warning")].filter(Boolean).join(", ") : "No alarms";
  return (
    <Tooltip label={label}>
      <ActionIcon variant="subtle" color="gray" size="lg" component={Link} href="/alarms" aria-label={n ? `Alarms: ${label}` : label} className="bell">
        <IconBell size={19} aria-hidden />
        {n ? <span className="bell-count" data-worst={alarms?.critical ? "critical" : "warning"} aria-hidden>{n > 99 ? "99+" : n}</span> : null}
      </ActionIcon>
    </Tooltip>
  );
}

export function SchemeSwitch() {
  const { setColorScheme } = useMantineColorScheme();
  const scheme = useComputedColorScheme("light");
  const other = scheme === "dark" ? "light" : "dark";
  return (
    <Tooltip label={`Switch to ${other}`}>
      <ActionIcon variant="subtle" color="gray" size="lg" onClick={() => setColorScheme(other)} aria-label={`Switch to ${other}`}>
        {scheme === "dark" ? <IconSun size={19} /> : <IconMoon size={19} />}
      </ActionIcon>
    </Tooltip>
  );
}
