export default function AdminPage() {
  return <p>x</p>;
}
