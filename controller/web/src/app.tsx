import { Center, Container, Loader } from "@mantine/core";
import { IconMapQuestion } from "./icons";
import { lazy, Suspense } from "react";
import { Route, Switch } from "wouter";
import { Signed } from "./api/session";
import { Frame } from "./frame";
import { SignIn } from "./pages/signin";
import { Empty, PageHead, Rows, Section } from "./ui/parts";
import { ProblemAlert } from "./ui/problem";

const Overview = lazy(() => import("./pages/overview"));
const Protection = lazy(() => import("./pages/protection"));
const Projects = lazy(() => import("./pages/projects"));
const Project = lazy(() => import("./pages/project"));
const Backup = lazy(() => import("./pages/backup"));
const Restores = lazy(() => import("./pages/restores"));
const Restore = lazy(() => import("./pages/restore"));
const Servers = lazy(() => import("./pages/servers"));
const Storages = lazy(() => import("./pages/storages"));
const Access = lazy(() => import("./pages/access"));
const Audit = lazy(() => import("./pages/audit"));
const Alarms = lazy(() => import("./pages/alarms"));
const Channels = lazy(() => import("./pages/channels"));
const Settings = lazy(() => import("./pages/settings"));

export function App() {
  return (
    <Signed
      loading={<Center h="100vh"><Loader aria-label="Loading" /></Center>}
      entrance={<SignIn />}
      failed={(err, again) => <Container size="sm" pt={120}><ProblemAlert error={err} again={again} /></Container>}
    >
      <Frame>
        <Suspense fallback={<Section><Rows n={6} /></Section>}>
          <Switch>
            <Route path="/"><Overview /></Route>
            <Route path="/protection"><Protection /></Route>
            <Route path="/projects"><Projects /></Route>
            <Route path="/projects/:ref">{(p) => <Project key={p.ref} id={decodeURIComponent(p.ref)} />}</Route>
            <Route path="/backups/:id">{(p) => <Backup key={p.id} id={Number(p.id)} />}</Route>
            <Route path="/restores"><Restores /></Route>
            <Route path="/restores/:id">{(p) => <Restore key={p.id} id={Number(p.id)} />}</Route>
            <Route path="/servers"><Servers /></Route>
            <Route path="/storages"><Storages /></Route>
            <Route path="/access"><Access /></Route>
            <Route path="/audit"><Audit /></Route>
            <Route path="/alarms"><Alarms /></Route>
            <Route path="/settings/channels"><Channels /></Route>
            <Route path="/settings"><Settings /></Route>
            <Route>
              <PageHead title="There is no such page" />
              <Section><Empty icon={IconMapQuestion} title="Nothing is at this address">The menu lists what there is.</Empty></Section>
            </Route>
          </Switch>
        </Suspense>
      </Frame>
    </Signed>
  );
}
